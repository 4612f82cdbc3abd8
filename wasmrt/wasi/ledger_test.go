package wasi

import (
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// hostFiles counts what this process has open.
func hostFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// table is what a guest can see of its descriptors.
func (s *System) table() []descriptor {
	var out []descriptor
	for _, d := range s.slots {
		if d == nil {
			out = append(out, descriptor{})
			continue
		}
		c := *d
		c.list = nil
		out = append(out, c)
	}
	return out
}

func TestResetEqualsTheMark(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "f"), "hello world")
	w := newWorld(t, Config{Mounts: []Mount{{HostPath: dir, GuestPath: "/"}}})
	w.want("fd_fdstat_set_flags", 0, 1, int(flagNonblock))
	kept, errno := w.open(3, "f", 0, readWrite, flagAppend)
	if errno != 0 {
		t.Fatal(errno)
	}
	_, _ = w.read(kept, 5)
	w.Mark()
	want, open := w.table(), hostFiles(t)

	for range 3 {
		for range 20 {
			if _, errno := w.open(3, "f", 0, readOnly, 0); errno != 0 {
				t.Fatal(errno)
			}
		}
		_, _ = w.open(3, ".", openDirectory, rightFdReaddir, 0)
		w.want("fd_readdir", 0, 3, atBuffer, 100, uint64(0), atResult)
		w.want("fd_close", 0, 3)
		w.want("fd_close", 0, 0)
		w.want("fd_renumber", 0, 5, 2)
		w.want("fd_renumber", 0, 6, 8)
		w.want("fd_renumber", ErrnoBadf, 8, 100)
		w.want("fd_seek", 0, kept, uint64(1), whenceCur, atResult)
		w.want("fd_fdstat_set_flags", 0, kept, 0)
		w.want("fd_fdstat_set_rights", 0, 1, uint64(0), uint64(0))
		w.want("fd_close", 0, kept)
		if w.Pristine() {
			t.Error("it calls itself pristine")
		}
		if !w.Reset() {
			t.Error("it could not be reset")
		}
		if got := w.table(); !reflect.DeepEqual(got, want) {
			t.Errorf("after a reset:\n%+v\nwant\n%+v", got, want)
		}
		if n := hostFiles(t); n > open {
			t.Errorf("the host has %d files open, it had %d", n, open)
		}
	}
	if text, errno := w.read(kept, 6); text != " world" || errno != 0 {
		t.Errorf("a file of the mark reads %q, %d", text, errno)
	}
	if _, errno := w.write(kept, "!"); errno != 0 {
		t.Error(errno)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "f")); string(b) != "hello world!" {
		t.Errorf("it does not append any more: %q", b)
	}
}

func TestMaxFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "f"), "")
	w := newWorld(t, Config{Mounts: []Mount{{HostPath: dir, GuestPath: "/"}}, MaxFiles: 3})
	var last uint32
	for range 3 {
		var errno Errno
		if last, errno = w.open(3, "f", 0, readOnly, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	if _, errno := w.open(3, "f", 0, readOnly, 0); errno != ErrnoMfile {
		t.Errorf("one more: %d", errno)
	}
	w.want("net.dial", ErrnoMfile, networkTCP, "127.0.0.1:1", atResult)
	w.want("fd_close", 0, last)
	w.want("fd_close", ErrnoBadf, last)
	if again, errno := w.open(3, "f", 0, readOnly, 0); errno != 0 || again != last {
		t.Errorf("after one was closed: %d, %d", again, errno)
	}
	w.want("fd_renumber", ErrnoBadf, last, 1<<31-1)
	w.want("fd_renumber", ErrnoBadf, 77, 3)
	// Closing what was given makes no room.
	w.want("fd_close", 0, 0)
	if _, errno := w.open(3, "f", 0, readOnly, 0); errno != ErrnoMfile {
		t.Errorf("in place of stdin: %d", errno)
	}
	open := hostFiles(t)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if n := hostFiles(t); n >= open {
		t.Errorf("%d files open after Close, %d before", n, open)
	}
}

func TestClone(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	put(t, filepath.Join(dir, "f"), "here")
	put(t, filepath.Join(other, "f"), "there")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := newWorld(t, Config{Args: []string{"a"}, Mounts: []Mount{{HostPath: dir, GuestPath: "/m"}}, Listeners: []net.Listener{l}})
	w.want("fd_fdstat_set_flags", 0, 2, int(flagNonblock))
	const scratch = 5
	fd, errno := w.open(scratch, "kept", openCreate, readWrite, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	_, _ = w.write(fd, "scratch")
	if w.Pristine() {
		t.Error("an open file, and pristine")
	}
	w.Mark()
	if _, err := w.Clone(); err == nil {
		t.Error("an open file is cloned")
	}
	w.want("fd_close", 0, fd)
	w.Mark()

	s, err := w.Clone()
	if err != nil {
		t.Fatal(err)
	}
	c := worldOf(t, s)
	if got := c.texts("args_sizes_get", "args_get"); len(got) != 1 {
		t.Errorf("arguments %q", got)
	}
	c.want("fd_fdstat_get", 0, 2, atBuffer)
	if flags := fdFlags(le.Uint16(c.mem[atBuffer+2:])); flags != flagNonblock {
		t.Errorf("stderr has flags %d", flags)
	}
	for i, want := range []string{"scratch", ""} {
		fd, errno := c.open(scratch, "kept", openCreate, readWrite, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		if text, _ := c.read(fd, 100); text != "scratch" {
			t.Errorf("round %d: the clone's file has %q", i, text)
		}
		_, _ = c.write(fd, want+"changed")
		c.Reset()
	}
	if !c.Pristine() {
		t.Error("a fresh clone is not pristine")
	}
	if err := w.Close(); err != nil { // the mounts stay for the clone
		t.Error(err)
	}
	s2, err := c.CloneFor([]Mount{{HostPath: other, GuestPath: "/m"}})
	if err != nil {
		t.Fatal(err)
	}
	for want, of := range map[string]*world{"here": c, "there": worldOf(t, s2)} {
		fd, errno := of.open(3, "f", 0, readOnly, 0)
		if text, _ := of.read(fd, 100); text != want || errno != 0 {
			t.Errorf("the mount has %q, %d, want %q", text, errno, want)
		}
	}
	if _, err := c.CloneFor([]Mount{{HostPath: other, GuestPath: "/elsewhere"}}); err == nil {
		t.Error("a clone with other guest paths")
	}
	if err := c.LetGo(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Clone(); err == nil {
		t.Error("a clone with mounts that are closed")
	}
	s3, err := c.CloneFor([]Mount{{HostPath: dir, GuestPath: "/m"}})
	if err != nil {
		t.Fatal(err)
	}
	of := worldOf(t, s3)
	fd, errno = of.open(3, "f", 0, readOnly, 0)
	if text, _ := of.read(fd, 100); text != "here" || errno != 0 {
		t.Errorf("after the original let go the mount has %q, %d", text, errno)
	}
}

// Whatever a guest calls, a reset gives back the same table, and the host keeps nothing open.
func TestRandomCallsReset(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "hello world")
	l := listen(t)
	w := newWorld(t, Config{Mounts: []Mount{{HostPath: dir, GuestPath: "/m"}}, Listeners: []net.Listener{l}, MaxFiles: 20})
	var names []string
	for name := range w.all {
		if name != "poll_oneoff" && name != "sock_accept" { // they would wait
			names = append(names, name)
		}
	}
	slices.Sort(names)
	w.want("fd_fdstat_set_flags", 0, 4, int(flagNonblock))
	w.Mark()
	want, open := w.table(), hostFiles(t)
	random := rand.New(rand.NewPCG(1, 2))
	program := make([]byte, 0, 10)
	for round := range 300 {
		for _, fd := range []uint32{3, 5} { // the mount and the scratch directory
			_, _ = w.open(fd, "file", openCreate, readWrite, 0)
			_, _ = w.open(fd, ".", openDirectory, rightFdReaddir, 0)
		}
		k := dialTo(t, l)
		w.call("sock_accept", 4, 0, atResult)
		_ = k.Close()
		w.h.spent, w.h.limit = 0, uint64(round)*2000
		for range 40 {
			program = append(program[:0], byte(random.UintN(256)))
			for range 9 {
				program = append(program, byte(random.UintN(40)))
			}
			w.step(names, program)
		}
		w.h.limit = 0
		if !w.Reset() {
			t.Fatalf("round %d: not clean", round)
		}
		if got := w.table(); !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d: after a reset:\n%+v\nwant\n%+v", round, got, want)
		}
	}
	if n := hostFiles(t); n > open {
		t.Errorf("the host has %d files open, it had %d", n, open)
	}
	if w.ScratchBytes() != 0 || len(w.names(5, 1000)) != 0 {
		t.Error("the scratch directory has something left")
	}
}
