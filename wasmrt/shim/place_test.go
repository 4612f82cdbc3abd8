package shim

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/containerd/api/types"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func getenv(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestPlace(t *testing.T) {
	p, err := newPlace(getenv(nil), "/run/containerd/containerd.sock", "k8s.io")
	if err != nil {
		t.Fatal(err)
	}
	if p.root != defaultRoot || p.run != defaultRun || p.idle != defaultIdle || len(p.serve) != 0 {
		t.Errorf("%+v", p)
	}
	same, _ := newPlace(getenv(nil), "/run/containerd/containerd.sock", "k8s.io")
	other, _ := newPlace(getenv(nil), "/run/containerd/containerd.sock", "default")
	if same.socket() != p.socket() || other.socket() == p.socket() || other.runtime() != p.runtime() {
		t.Errorf("%s, %s, %s", p.socket(), same.socket(), other.socket())
	}
	own, err := newPlace(getenv(map[string]string{envRoot: "/a", envRun: "/b", envServe: " --runner-memory  1Gi ", envIdle: "2s"}), "/c", "d")
	if err != nil || own.root != "/a" || !strings.HasPrefix(own.socket(), "/b/") || strings.Join(own.serve, ",") != "--runner-memory,1Gi" || own.idle != 2*time.Second {
		t.Errorf("%+v, %v", own, err)
	}
	for says, vars := range map[string]map[string]string{
		"absolute": {envRoot: "a"}, "must be": {envRun: "b"}, "too long": {envRun: "/" + strings.Repeat("x", 100)}, "want a duration": {envIdle: "soon"}, envIdle: {envIdle: "1us"},
	} {
		if _, err := newPlace(getenv(vars), "/c", "d"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v", vars, err)
		}
	}
	if _, err := newPlace(getenv(nil), "", "d"); err == nil {
		t.Error("no containerd")
	}
}

func TestLock(t *testing.T) {
	p := &place{run: t.TempDir(), key: "k"}
	if err := p.make(); err != nil {
		t.Fatal(err)
	}
	release, held, err := take(p.lock(), false)
	if held || err != nil {
		t.Fatal(held, err)
	}
	if _, held, err := take(p.lock(), false); !held || err != nil {
		t.Errorf("twice: %v, %v", held, err)
	}
	release()
	release, held, err = take(p.lock(), true)
	if held || err != nil {
		t.Errorf("afterwards: %v, %v", held, err)
	}
	release()
	if _, _, err := take(p.lockOf("none"), false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("that of nobody: %v", err)
	}
	if err := p.remove(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(p.run); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestDaemonOf(t *testing.T) {
	p, dir := &place{run: "/run/x", key: "k"}, t.TempDir()
	if got := daemonOf(dir, p); got != "/run/x/k/s" {
		t.Errorf("%s", got)
	}
	for content, want := range map[string]string{"unix:///run/y/old/s": "/run/y/old/s", "rubbish": "/run/x/k/s"} {
		if err := os.WriteFile(filepath.Join(dir, addressFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := daemonOf(dir, p); got != want {
			t.Errorf("%s: %s", content, got)
		}
	}
}

// run is the program with nothing but its arguments.
func run(t *testing.T, args ...string) (code int, stdout []byte, stderr string) {
	t.Helper()
	dir := t.TempDir()
	var out, errs bytes.Buffer
	m := &Main{Version: "v1", Getenv: getenv(map[string]string{envRun: dir, envRoot: dir}), Getwd: func() (string, error) { return dir, nil }, Stdout: &out, Stderr: &errs}
	code = m.Run(t.Context(), args)
	return code, out.Bytes(), errs.String()
}

func TestCommand(t *testing.T) {
	for _, tt := range []struct {
		args string
		says string
	}{
		{"", "address and namespace"}, {"-namespace n start", "address"}, {"-namespace n -address /a", "action"}, {"-namespace n -address /a stop", `"stop"`},
		{"-namespace n -address /a start", "id"}, {"-namespace n -address /a delete", "id"}, {"-wrong", "docs/shim.md"},
	} {
		if code, out, errs := run(t, strings.Fields(tt.args)...); code != 1 || len(out) > 0 || !strings.Contains(errs, tt.says) {
			t.Errorf("%q: %d, %q, %q", tt.args, code, out, errs)
		}
	}
	if code, out, _ := run(t, "-v"); code != 0 || string(out) != Program+" v1\n" {
		t.Errorf("%d %q", code, out)
	}
	code, out, _ := run(t, "-info")
	var info types.RuntimeInfo
	if err := proto.Unmarshal(out, &info); code != 0 || err != nil || info.Name != RuntimeType || info.Version.Version != "v1" {
		t.Errorf("%d, %v, %v", code, &info, err)
	}
	// containerd deletes what has no daemon any more, and nothing is left of.
	code, out, errs := run(t, "-namespace", "n", "-address", "/a", "-id", "x", "delete")
	var deleted taskapi.DeleteResponse
	if err := proto.Unmarshal(out, &deleted); code != 0 || err != nil || deleted.ExitStatus != 137 || time.Since(deleted.ExitedAt.AsTime()) > time.Minute {
		t.Errorf("%d, %v, %v, %s", code, &deleted, err, errs)
	}
}

func TestEnvironment(t *testing.T) {
	got := strings.Join(environment(getenv(map[string]string{"PATH": "/bin", "GOMAXPROCS": "2", envRun: "/r", "SECRET": "x"})), " ")
	if got != "PATH=/bin "+envRun+"=/r" {
		t.Error(got)
	}
}
