package engine

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// guests are those that the benchmarks of requests use: one of Go, one of C (where the compiler is installed) and one of
// a few bytes.
func guests(b *testing.B) map[string]*Template {
	b.Helper()
	all := map[string]*Template{"go": hunterTemplate(b)}
	tiny := moduletest.Reactor([]byte{0x41, 0, 0x41, 1, 0x36, 2, 16}) // stores a number
	tiny.Imports = nil
	all["tiny"] = load(b, newEngine(b), moduletest.Build(tiny))
	out := filepath.Join(b.TempDir(), "c.wasm")
	cmd := exec.CommandContext(b.Context(), "clang-14", "--target=wasm32-wasi", "-O2", "-mexec-model=reactor", "-o", out, "testdata/counter/counter.c")
	if msg, err := cmd.CombinedOutput(); err != nil {
		b.Logf("no C guest: %v %s", err, msg)
		return all
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		b.Fatal(err)
	}
	all["c"] = load(b, newEngine(b), wasm)
	return all
}

// BenchmarkRequest is a trivial request: hot (shared), isolated by a reset, and in a clone of its own.
func BenchmarkRequest(b *testing.B) {
	ctx := context.Background()
	for name, tmpl := range guests(b) {
		cfg := PoolConfig{}
		if name == "go" {
			cfg.WarmUp = warmUp
		}
		for _, isolation := range []Isolation{IsolationShared, IsolationReset} {
			cfg.Isolation = isolation
			p := newPool(b, tmpl, cfg)
			b.Run(name+"/"+string(isolation), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					in, err := p.Get(ctx)
					if err == nil {
						err = errors.Join(in.Call(ctx, module.HandleExport), p.Put(in))
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		p := newPool(b, tmpl, cfg)
		b.Run(name+"/clone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s, system, err := p.share(ctx)
				if err != nil {
					b.Fatal(err)
				}
				in, err := p.clone(ctx, s, system, true)
				if err != nil {
					b.Fatal(err)
				}
				in.reseed()
				if err := errors.Join(in.Call(ctx, module.HandleExport), in.Close()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
