// Precompile compiles modules into an engine's cache directory: precompile DIR FILE... The race detector makes wazero's
// compiler twenty times slower, so tests that run under it let this program, which is built without it, do the work.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "precompile:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, files []string) error {
	e, err := engine.New(ctx, engine.Config{CacheDir: dir})
	if err != nil {
		return err
	}
	for _, f := range files {
		wasm, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		t, err := e.Load(ctx, wasm)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if err := t.Close(); err != nil {
			return err
		}
	}
	return e.Close()
}
