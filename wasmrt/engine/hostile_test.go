package engine

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
	"github.com/petrelrun/petrel/wasmrt/wasi"
)

// exitWith makes the result of the body the exit code of a command whose first import is proc_exit.
func exitWith(body []byte, imports ...string) []byte {
	return moduletest.Build(moduletest.CommandWith(moduletest.Then(body, moduletest.Call(0)), append([]string{"proc_exit"}, imports...)...))
}

// Numbers that a guest chooses do not make the host allocate or panic.
func TestHugeNumbers(t *testing.T) {
	tests := []struct {
		name string
		wasm []byte
		code uint32
	}{
		{"renumber to the last descriptor", exitWith(moduletest.Then(moduletest.Const(1), moduletest.Const(math.MaxInt32), moduletest.Call(1)), "fd_renumber"), uint32(wasi.ErrnoBadf)},
		{"poll for more than memory holds", exitWith(moduletest.Then(moduletest.Const(0), moduletest.Const(0), moduletest.Const(0x05555556),
			moduletest.Const(0), moduletest.Call(1)), "poll_oneoff"), uint32(wasi.ErrnoInval)},
		{"write buffers without end", exitWith(moduletest.Then(moduletest.Const(1), moduletest.Const(0), moduletest.Const(-1),
			moduletest.Const(0), moduletest.Call(1)), "fd_write"), uint32(wasi.ErrnoFault)},
		{"random bytes outside memory", exitWith(moduletest.Then(moduletest.Const(1), moduletest.Const(-1), moduletest.Call(1)), "random_get"), uint32(wasi.ErrnoFault)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			code, _, _, err := run(t, t.Context(), tt.wasm, Spec{})
			runtime.ReadMemStats(&after)
			if code != tt.code || err != nil {
				t.Errorf("code %d, %v, want %d", code, err, tt.code)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 100<<20 {
				t.Errorf("the host allocated %d bytes", grown)
			}
		})
	}
}

// One host call that moves any amount of data ends with its guest. The guests have vectors of buffers that are all the
// same large piece of memory.
func TestLongHostCallsAreKilled(t *testing.T) {
	const vectors = 1 << 17 // of half a MiB each, so 64 GiB
	// The loop fills the vectors at 1 MiB with {0, 512 KiB}.
	fill := moduletest.Then(
		[]byte{0x03, 0x40},                      // loop
		[]byte{0x20, 0x00}, moduletest.Const(0), // store at local 0: pointer 0
		[]byte{0x36, 0x02}, moduletest.U32(1<<20),
		[]byte{0x20, 0x00}, moduletest.Const(512<<10), // and the length after it
		[]byte{0x36, 0x02}, moduletest.U32(1<<20+4),
		[]byte{0x20, 0x00}, moduletest.Const(8), []byte{0x6a, 0x22, 0x00}, // local 0 += 8
		moduletest.Const(vectors*8), []byte{0x49, 0x0d, 0x00, 0x0b}, // repeat while below
	)
	command := func(body []byte, imports ...string) []byte {
		m := moduletest.CommandWith(moduletest.Then(fill, body), imports...)
		m.Funcs[0].Locals = []byte{1, 1, 0x7f}
		m.Pages = 64
		return moduletest.Build(m)
	}
	write := func(fd int32) []byte { // again and again: one call takes a part of the vectors
		return moduletest.Then([]byte{0x03, 0x40}, moduletest.Const(fd), moduletest.Const(1<<20), moduletest.Const(vectors), moduletest.Const(0), moduletest.Call(0),
			[]byte{0x1a, 0x0c, 0x00, 0x0b})
	}
	big := moduletest.CommandWith(moduletest.Then([]byte{0x03, 0x40}, moduletest.Const(0), moduletest.Const(2_000_000_000), moduletest.Call(0),
		[]byte{0x1a, 0x0c, 0x00, 0x0b}), "random_get")
	big.Pages = 32_000
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 1<<40); err != nil { // sparse: reading it takes hours
		t.Skip(err)
	}
	// path_open of "f" in the first preopen (3), for reading; the descriptor is 4.
	open := moduletest.Then(moduletest.Const(32), moduletest.Const('f'), []byte{0x3a, 0, 0}, // store8
		moduletest.Const(3), moduletest.Const(0), moduletest.Const(32), moduletest.Const(1), moduletest.Const(0),
		moduletest.I64(2), moduletest.I64(0), moduletest.Const(0), moduletest.Const(48), moduletest.Call(1), []byte{0x1a})
	tests := []struct {
		name string
		wasm []byte
		spec Spec
	}{
		{"write to a stream", command(write(1), "fd_write"), Spec{Stdout: slow{}}},
		{"read of a file", command(moduletest.Then(open, write(4)), "fd_read", "path_open"), Spec{Mounts: []wasi.Mount{{HostPath: dir, GuestPath: "/"}}}},
		{"random", moduletest.Build(big), Spec{MemoryLimit: 2 << 30}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tmpl := load(t, newEngine(t), tt.wasm)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			code, err := tmpl.Run(ctx, tt.spec)
			var killed *KilledError
			if code != ExitKilled || !errors.As(err, &killed) {
				t.Errorf("code %d, %v, want a kill", code, err)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %s to die", took)
			}
		})
	}
}

// slow takes a millisecond for each piece.
type slow struct{}

func (slow) Write(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return len(p), nil
}
