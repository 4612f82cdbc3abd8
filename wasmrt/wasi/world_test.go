package wasi

import (
	"context"
	"testing"
)

// exited is what fakeHost.Exit panics with.
type exited uint32

// fakeHost is the engine as tests have it.
type fakeHost struct {
	ctx    context.Context
	spent  uint64
	limit  uint64 // beyond it the guest is ended; zero is none
	blocks int
}

func (h *fakeHost) Context() context.Context { return h.ctx }
func (h *fakeHost) Spend(units uint64) {
	if h.spent += units; h.limit > 0 && h.spent > h.limit {
		panic(exited(137))
	}
}
func (h *fakeHost) Exit(code uint32) { panic(exited(code)) }
func (h *fakeHost) Block(wait func(context.Context)) {
	h.blocks++
	wait(h.ctx)
}

// world is a guest without code: tests make its calls.
type world struct {
	*System
	t   testing.TB
	h   *fakeHost
	mem []byte
	all map[string]Function
}

func newWorld(t testing.TB, cfg Config) *world {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return worldOf(t, s)
}

func worldOf(t testing.TB, s *System) *world {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	all := Functions()
	for name, f := range NetFunctions() {
		all["net."+name] = f
	}
	return &world{System: s, t: t, h: &fakeHost{ctx: t.Context()}, mem: make([]byte, 1<<20), all: all}
}

// call makes a host call. Parameters are int, uint64 or string; a string is put into memory and becomes two.
func (w *world) call(name string, params ...any) Errno {
	w.t.Helper()
	f := w.all[name]
	if f == nil {
		w.t.Fatalf("no function %s", name)
	}
	text := uint32(1 << 16)
	var stack []uint64
	for _, p := range params {
		switch p := p.(type) {
		case int:
			stack = append(stack, uint64(p))
		case uint32:
			stack = append(stack, uint64(p))
		case uint64:
			stack = append(stack, p)
		case rights:
			stack = append(stack, uint64(p))
		case string:
			stack = append(stack, uint64(text), uint64(len(p)))
			copy(w.mem[text:], p)
			text += uint32(len(p))
		default:
			w.t.Fatalf("parameter %T", p)
		}
	}
	if len(stack) == 0 {
		stack = make([]uint64, 1)
	}
	f(w.h, w.System, w.mem, stack)
	return Errno(stack[0])
}

// Where the helpers below keep what they pass and get.
const (
	atResult = 64
	atVector = 128
	atBuffer = 4096
)

func (w *world) result() uint32   { return le.Uint32(w.mem[atResult:]) }
func (w *world) result64() uint64 { return le.Uint64(w.mem[atResult:]) }

func (w *world) want(name string, want Errno, params ...any) {
	w.t.Helper()
	if got := w.call(name, params...); got != want {
		w.t.Errorf("%s%v: errno %d, want %d", name, params, got, want)
	}
}

func (w *world) vector(at, size int) {
	le.PutUint32(w.mem[atVector:], uint32(at))
	le.PutUint32(w.mem[atVector+4:], uint32(size))
}

func (w *world) write(fd uint32, text string) (int, Errno) {
	w.t.Helper()
	copy(w.mem[atBuffer:], text)
	w.vector(atBuffer, len(text))
	errno := w.call("fd_write", fd, atVector, 1, atResult)
	return int(w.result()), errno
}

func (w *world) read(fd uint32, size int) (string, Errno) {
	w.t.Helper()
	w.vector(atBuffer, size)
	if errno := w.call("fd_read", fd, atVector, 1, atResult); errno != 0 {
		return "", errno
	}
	return string(w.mem[atBuffer:][:w.result()]), 0
}

const (
	readOnly  = rightFdRead | rightFdSeek | rightFdTell
	readWrite = readOnly | rightFdWrite
)

func (w *world) open(dir uint32, path string, flags openFlags, rights rights, fd fdFlags) (uint32, Errno) {
	w.t.Helper()
	errno := w.call("path_open", dir, lookupFollow, path, int(flags), rights, rights, int(fd), atResult)
	return w.result(), errno
}
