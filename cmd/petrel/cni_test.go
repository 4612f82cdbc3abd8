package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/worker/network/cni/plugin"
)

func TestCNICommand(t *testing.T) {
	dir := t.TempDir()
	flags := []string{"--conf-dir", filepath.Join(dir, "net.d"), "--bin-dir", filepath.Join(dir, "bin"), "--socket", filepath.Join(dir, "s")}
	var out, errs bytes.Buffer
	if code := run(append([]string{"cni", "install"}, flags...), strings.NewReader(""), &out, &errs); code != 0 {
		t.Fatalf("install: %d, %s", code, errs.String())
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(filepath.Join(dir, "bin", plugin.Name)); err != nil || to != exe {
		t.Errorf("the plugin's link leads to %q, %v", to, err)
	}
	if written, err := os.ReadDir(filepath.Join(dir, "net.d")); err != nil || len(written) != 1 {
		t.Errorf("written: %v, %v", written, err)
	}
	if code := run(append([]string{"cni", "remove"}, flags...), strings.NewReader(""), &out, &errs); code != 0 {
		t.Fatalf("remove: %d, %s", code, errs.String())
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if code := run([]string{"cni", "install", "--socket", "s"}, strings.NewReader(""), &out, &errs); code == 0 {
		t.Error("a relative socket was taken")
	}
}

func TestCNISocketIsChecked(t *testing.T) {
	for _, tc := range []struct {
		socket    string
		clustered bool
		ok        bool
	}{{"", false, true}, {"/run/s", true, true}, {"/run/s", false, false}, {"run/s", true, false}} {
		if err := checkCNISocket(tc.socket, tc.clustered); (err == nil) != tc.ok {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}
