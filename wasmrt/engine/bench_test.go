package engine

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// BenchmarkLoad is what a Go module of net/http's size costs: compiled anew, from another process's cache, and when it is
// loaded already.
func BenchmarkLoad(b *testing.B) {
	hello := moduletest.BuildGo(b, filepath.Join(examplesDir, "hello"), true)
	modules := map[string][]byte{"go": hello, "tiny": moduletest.Exit(0)}
	loadOnce := func(b *testing.B, dir string, wasm []byte) {
		e, err := New(context.Background(), Config{CacheDir: dir})
		if err != nil {
			b.Fatal(err)
		}
		tmpl, err := e.Load(context.Background(), wasm)
		if err != nil {
			b.Fatal(err)
		}
		_ = tmpl.Close()
	}
	for _, name := range []string{"tiny", "go"} {
		wasm := modules[name]
		b.Run(name+"/compile", func(b *testing.B) {
			for b.Loop() {
				loadOnce(b, "", wasm)
			}
		})
		b.Run(name+"/disk", func(b *testing.B) {
			dir := filepath.Join(b.TempDir(), "cache")
			loadOnce(b, dir, wasm)
			for b.Loop() {
				loadOnce(b, dir, wasm)
			}
		})
		b.Run(name+"/check", func(b *testing.B) {
			for b.Loop() {
				if _, err := module.Check(wasm, module.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRun is a fresh instance of a command of a few instructions, to its exit.
func BenchmarkRun(b *testing.B) {
	tmpl := load(b, newEngine(b), moduletest.Exit(0))
	for b.Loop() {
		if _, err := tmpl.Run(context.Background(), Spec{}); err != nil {
			b.Fatal(err)
		}
	}
}
