package containerd

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestShimOf(t *testing.T) {
	const socket = "/run/test/cri.sock"
	for _, tc := range []struct {
		name string
		args []string
		id   string
	}{
		{"of ours", []string{"/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", "abc", "-address", socket}, "abc"},
		{"of another daemon", []string{"containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", "abc", "-address", socket + "2"}, ""},
		{"of no daemon", []string{"containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", "abc"}, ""},
		{"of another namespace", []string{"containerd-shim-runc-v2", "-namespace", "moby", "-id", "abc", "-address", socket}, ""},
		{"of no container", []string{"containerd-shim-runc-v2", "-namespace", "k8s.io", "-address", socket}, ""},
		{"a path for an ID", []string{"containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", "../abc", "-address", socket}, ""},
		{"hidden", []string{"containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", "..", "-address", socket}, ""},
		{"a call", []string{"containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", "abc", "-address", socket, "delete"}, ""},
		{"another program", []string{"runc", "-namespace", "k8s.io", "-id", "abc", "-address", socket}, ""},
		{"a flag without a value", []string{"containerd-shim-runc-v2", "-namespace"}, ""},
		{"ended", nil, ""},
	} {
		if id, ok := shimOf(tc.args, socket); ok != (tc.id != "") || ok && id != tc.id {
			t.Errorf("%s: %q, %v", tc.name, id, ok)
		}
	}
}

// TestShimEnds ends a process that calls itself a shim of ours, and leaves one alone that has only its number.
func TestShimEnds(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "cri.sock")
	ended := map[string]chan struct{}{}
	for id, at := range map[string]string{"ours": socket, "other": socket + "2"} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args = []string{shimName, "-namespace", namespace, "-id", id, "-address", at}
		input, err := cmd.StdinPipe() // it ends with that, and so with the test
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		ended[id] = done
		go func() { _ = cmd.Wait(); close(done) }()
		t.Cleanup(func() { input.Close(); <-done })
		for deadline := time.Now().Add(30 * time.Second); len(arguments(cmd.Process.Pid)) < 7; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("waited in vain for the process to have its arguments")
			}
		}
		if err := (shim{cmd.Process.Pid, "of-before"}).end(socket); err != nil {
			t.Error(err)
		}
	}
	all, err := shims(socket)
	if err != nil || len(all) != 1 || all[0].id != "ours" {
		t.Fatalf("shims: %v, %v", all, err)
	}
	if err := all[0].end(socket); err != nil {
		t.Fatal(err)
	}
	<-ended["ours"]
	select {
	case <-ended["other"]:
		t.Error("the shim of another daemon was ended")
	default:
	}
	if err := all[0].end(socket); err != nil { // again
		t.Error(err)
	}
}
