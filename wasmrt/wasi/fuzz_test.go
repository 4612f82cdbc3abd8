package wasi

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzCalls makes any calls with any parameters on a small memory. Nothing may panic, block or write outside.
func FuzzCalls(f *testing.F) {
	names := slices.Sorted(maps.Keys(Functions()))
	for name := range NetFunctions() {
		names = append(names, "net."+name)
	}
	for i := range names {
		f.Add([]byte{byte(i), 3, 0, 64, 1, 4, 200, 0, 0, 0, 8})
		f.Add([]byte{byte(i), 255, 255, 255, 255, 255, 255, 255, 255, 255, 255})
	}
	dir := f.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close() })
	f.Fuzz(func(t *testing.T, program []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		s, err := New(Config{Args: []string{"a"}, Env: []string{"A=b"}, Mounts: []Mount{{HostPath: dir, GuestPath: "/m", ReadOnly: true}}, MaxFiles: 8, Listeners: []net.Listener{l}})
		if err != nil {
			t.Fatal(err)
		}
		w := worldOf(t, s)
		w.h.ctx = ctx
		whole := make([]byte, 4096+64)
		w.mem = whole[:4096:4096]
		copy(w.mem[256:], "file\x00..")
		s.SetStreams(strings.NewReader("input"), nil, nil)
		if len(program) > 0 {
			w.h.limit = uint64(program[0]) * 1000
		}
		for len(program) > 0 && ctx.Err() == nil {
			program = w.step(names, program)
		}
		for _, b := range whole[4096:] {
			if b != 0 {
				t.Fatal("a call wrote beyond the memory")
			}
		}
		s.Reset()
		if s.OpenFiles() != 0 {
			t.Fatalf("%d files are open after a reset", s.OpenFiles())
		}
	})
}

// step takes a call from the program: its function, and a byte for each parameter, of which some stand for odd numbers.
func (w *world) step(names []string, program []byte) []byte {
	name := names[int(program[0])%len(names)]
	program = program[1:]
	if strings.HasPrefix(name, "net.") {
		w.SetEgress(nil)
	}
	stack := make([]uint64, 9)
	for i := range stack {
		if len(program) == 0 {
			break
		}
		stack[i] = number(program[0])
		program = program[1:]
	}
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(exited); !ok {
				panic(v)
			}
		}
	}()
	w.all[name](w.h, w.System, w.mem, stack)
	return program
}

func number(b byte) uint64 {
	switch {
	case b < 64:
		return uint64(b)
	case b < 192:
		return uint64(b-64) * 32 // places in memory
	}
	odd := []uint64{1<<64 - 1, 1<<63 - 1, 1 << 63, 1<<32 - 1, 1 << 31, 1<<31 - 1, 4095, 4096, 4097, 1 << 20, 0x05555556, 1<<29 - 1, 1 << 29}
	return odd[int(b)%len(odd)]
}
