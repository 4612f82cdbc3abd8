package engine

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
	"github.com/petrelrun/petrel/wasmrt/wasi"
)

// probe builds the Go guest and compiles it once for all tests.
var probe struct {
	once sync.Once
	wasm []byte
}

func probeTemplate(t *testing.T) *Template {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a Go guest")
	}
	probe.once.Do(func() { probe.wasm = moduletest.BuildGo(t, "testdata/probe", false) })
	return loadLarge(t, probe.wasm)
}

func runProbe(t *testing.T, tmpl *Template, spec Spec, args ...string) (code uint32, out string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	spec.Args = append([]string{"probe"}, args...)
	spec.Stdout, spec.Stderr = &stdout, &stderr
	code, err = tmpl.Run(t.Context(), spec)
	return code, stdout.String() + stderr.String(), err
}

func TestGoGuest(t *testing.T) {
	tmpl := probeTemplate(t)
	t.Setenv("HOST_SECRET", "not for guests")

	if _, out, _ := runProbe(t, tmpl, Spec{}, "args", "a b", ""); out != "probe|args|a b|\n" {
		t.Errorf("args: %q", out)
	}
	if _, out, _ := runProbe(t, tmpl, Spec{}, "env"); out != "\n" {
		t.Errorf("an empty environment: %q", out)
	}
	if _, out, _ := runProbe(t, tmpl, Spec{Env: []string{"A=1", "B=x=y", "A=2"}}, "env"); out != "A=2|B=x=y\n" {
		t.Errorf("environment: %q", out)
	}
	if _, out, _ := runProbe(t, tmpl, Spec{Stdin: strings.NewReader("one\ntwo\n")}, "upper"); out != "ONE\nTWO\n" {
		t.Errorf("stdin: %q", out)
	}
	if code, out, err := runProbe(t, tmpl, Spec{}, "exit", "42"); code != 42 || out != "leaving\n" || err != nil {
		t.Errorf("exit: %d, %q, %v", code, out, err)
	}
	if code, out, err := runProbe(t, tmpl, Spec{}, "panic"); code != 2 || !strings.Contains(out, "the probe panics") || err != nil {
		t.Errorf("panic: %d, %q, %v", code, out, err)
	}
	var memory *MemoryError
	if code, out, err := runProbe(t, tmpl, Spec{MemoryLimit: 32 << 20}, "eat"); !errors.As(err, &memory) || !strings.Contains(out, "out of memory") {
		t.Errorf("eat: %d, %v, %.200q", code, err, out)
	}
}

func TestGoGuestClockAndRandom(t *testing.T) {
	tmpl := probeTemplate(t)
	before := time.Now().UnixMilli()
	_, out, _ := runProbe(t, tmpl, Spec{}, "clock")
	fields := strings.Fields(out)
	if len(fields) != 2 {
		t.Fatalf("clock: %q", out)
	}
	wall, _ := strconv.ParseInt(fields[0], 10, 64)
	slept, _ := strconv.ParseInt(fields[1], 10, 64)
	if wall < before || wall > time.Now().UnixMilli() || slept < 30 || slept > 60_000 {
		t.Errorf("wall clock %d (host %d), slept %d ms", wall, before, slept)
	}
	var seen []string
	for range 3 {
		_, out, _ := runProbe(t, tmpl, Spec{}, "random")
		if slices.Contains(seen, out) || len(out) != 33 {
			t.Errorf("random bytes %q after %q", out, seen)
		}
		seen = append(seen, out)
	}
}

func TestGoGuestFiles(t *testing.T) {
	tmpl := probeTemplate(t)
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "in.json"), []byte(`{"a":1}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(host, "rw"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(host, "rw", "out")); err != nil {
		t.Fatal(err)
	}
	spec := Spec{Mounts: []wasi.Mount{
		{HostPath: filepath.Join(host, "in.json"), GuestPath: "/etc/app/config.json", ReadOnly: true},
		{HostPath: filepath.Join(host, "rw"), GuestPath: "/data"},
		{HostPath: host, GuestPath: "/ro", ReadOnly: true},
	}}
	steps := []struct {
		args []string
		ok   bool
		out  string
	}{
		{[]string{"cat", "/etc/app/config.json"}, true, `{"a":1}`},
		{[]string{"ls", "/etc/app"}, true, "config.json\n"},
		{[]string{"write", "/data/new", "text"}, true, ""},
		{[]string{"cat", "/data/new"}, true, "text"},
		{[]string{"cat", "/ro/rw/new"}, true, "text"},
		{[]string{"ls", "/data"}, true, "new\nout\n"},
		{[]string{"leak", "/data/new"}, true, ""},
		{[]string{"write", "/ro/rw/new", "other"}, false, ""},
		{[]string{"write", "/etc/app/config.json", "other"}, false, ""},
		{[]string{"cat", "/data/out"}, false, ""},
		{[]string{"cat", "/data/../../etc/passwd"}, false, ""},
		{[]string{"cat", "/etc/passwd"}, false, ""},
	}
	for _, s := range steps {
		code, out, err := runProbe(t, tmpl, spec, s.args...)
		if err != nil || (code == 0) != s.ok || (s.ok && out != s.out) {
			t.Errorf("%q: code %d, %q, %v", s.args, code, out, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(host, "rw", "new")); err != nil || string(b) != "text" {
		t.Errorf("on the host: %q, %v", b, err)
	}
}
