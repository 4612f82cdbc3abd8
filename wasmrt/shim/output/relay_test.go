package output

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/wasmrt/runner/crilog"
)

// ends are containerd's side of a container's output.
type ends struct {
	dir, stdout, stderr string
}

func newEnds(t *testing.T) *ends {
	t.Helper()
	base := t.TempDir()
	e := &ends{dir: filepath.Join(base, "relay"), stdout: filepath.Join(base, "out"), stderr: filepath.Join(base, "err")}
	for _, path := range []string{e.stdout, e.stderr} {
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// read collects what comes from a pipe. The answer is called when all has been written, and answers it.
func read(t *testing.T, path string) func() string {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // before there is a writer
	if err != nil {
		t.Fatal(err)
	}
	hold, err := os.OpenFile(path, os.O_WRONLY, 0) // until then there is no end of file
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		defer f.Close()
		raw, err := io.ReadAll(f)
		if err != nil {
			raw = append(raw, err.Error()...)
		}
		got <- string(raw)
	}()
	return func() string {
		_ = hold.Close()
		return <-got
	}
}

// TestRelay takes what a runner's own log writes.
func TestRelay(t *testing.T) {
	e := newEnds(t)
	stdout, stderr := read(t, e.stdout), read(t, e.stderr)
	r, err := Open(e.dir, e.stdout, "fifo://"+e.stderr)
	if err != nil {
		t.Fatal(err)
	}
	log := crilog.New(filepath.Join(e.dir, LogName), time.Now)
	out, errs := log.Stream(crilog.Stdout), log.Stream(crilog.Stderr)
	long := strings.Repeat("x", 3*crilog.MaxLine)
	for _, w := range []struct {
		to   io.Writer
		text string
	}{{out, "one\n"}, {errs, "two\n"}, {out, long + "\n\n"}, {errs, "no newline at the end"}} {
		if _, err := io.WriteString(w.to, w.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if got, want := stdout(), "one\n"+long+"\n\n"; got != want {
		t.Errorf("stdout has %d bytes, want %d", len(got), len(want))
	}
	if got := stderr(); got != "two\nno newline at the end" {
		t.Errorf("stderr %q", got)
	}
	if _, err := os.Stat(e.dir); !os.IsNotExist(err) {
		t.Errorf("the relay's directory is there: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

// TestNobodyReads: the exit is not held up by it for long, and readers may come late.
func TestNobodyReads(t *testing.T) {
	e := newEnds(t)
	r, err := Open(e.dir, e.stdout, e.stderr)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(e.dir, LogName), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("t stdout F early\n")
	if err != nil {
		t.Fatal(err)
	}
	late, err := os.OpenFile(e.stdout, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := late.Read(buf); err != nil || string(buf[:n]) != "early\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	wrote := make(chan struct{})
	go func() { // more than pipes hold; it blocks until the relay is closed
		defer close(wrote)
		_, _ = f.Write(bytes.Repeat([]byte("t stderr F flood\n"), 1<<16))
	}()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	<-wrote
	_, _ = f.Close(), late.Close()
}

func TestSinks(t *testing.T) {
	e := newEnds(t)
	file := filepath.Join(t.TempDir(), "log")
	r, err := Open(e.dir, "file://"+file, "")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(e.dir, LogName), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("t stdout F kept\nnothing of this is a record " + strings.Repeat("z", 2*maxRecord) + "\nt stderr F dropped\nt stdout P end\n")
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if raw, err := os.ReadFile(file); err != nil || string(raw) != "kept\nend" {
		t.Errorf("%q, %v", raw, err)
	}
	for _, bad := range []string{"binary:///bin/true", "tcp://1.2.3.4", "%zz", "/none/here"} {
		if r, err := Open(e.dir, bad, ""); err == nil {
			t.Errorf("%s is opened", bad)
			_ = r.Close()
		}
		if _, err := os.Stat(e.dir); !os.IsNotExist(err) {
			t.Errorf("%s: the directory is left", bad)
		}
	}
}

// TestDrain: who writes to a log whose relay died goes on.
func TestDrain(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(filepath.Join(dir, name, LogName), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opened := make(chan *os.File)
	go func() { // waits for a reader
		f, _ := os.OpenFile(filepath.Join(dir, "b", LogName), os.O_WRONLY, 0)
		opened <- f
	}()
	end, err := Drain(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := <-opened
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		t.Error(err)
	}
	_ = f.Close()
	if err := end(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it is there: %v", err)
	}
	if end, err = Drain(dir); err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

func TestWrite(t *testing.T) {
	e := newEnds(t)
	got := read(t, e.stdout)
	big := strings.Repeat("x", 1<<18)
	if err := Write(t.Context(), e.stdout, []byte(big)); err != nil {
		t.Fatal(err)
	}
	if n := len(got()); n != len(big) {
		t.Errorf("%d bytes came, want %d", n, len(big))
	}
	if err := Write(t.Context(), "", []byte("x")); err != nil {
		t.Errorf("to nobody: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(ctx, e.stderr, []byte(big)); err == nil {
		t.Error("what nobody reads is written")
	}
}
