package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
)

// cacheOptions names the options that machine code is compiled with. It is part of the path, so changing an option must
// change it. wazero adds its own version, the architecture and the processor's abilities.
const cacheOptions = "v1-v2features-terminable"

// cacheDir is where a digest's machine code is kept; empty when nothing is.
func (e *Engine) cacheDir(digest string) string {
	if e.cfg.CacheDir == "" {
		return ""
	}
	return filepath.Join(e.cfg.CacheDir, cacheOptions, strings.ReplaceAll(digest, ":", "-"))
}

func openCache(dir string) (wazero.CompilationCache, error) {
	if dir == "" {
		return wazero.NewCompilationCache(), nil
	}
	// The cache is machine code that will be executed: nobody else may write to it.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make cache: %w", err)
	}
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	return cache, nil
}

// entries lists the compiled code in a directory. wazero keeps that of each of its own versions apart, so having an entry
// does not mean that it will be used. Files still being written end in .tmp.
func entries(dir string) []string {
	var found []string
	if dir == "" {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.HasSuffix(path, ".tmp") {
			found = append(found, path)
		}
		return nil // what cannot be read is no entry
	})
	return found
}

// code is a compiled module with what must be closed after it.
type code struct {
	runtime  wazero.Runtime
	cache    wazero.CompilationCache
	compiled wazero.CompiledModule
	cached   bool
}

func (c *code) close(ctx context.Context) error {
	return errors.Join(c.runtime.Close(ctx), c.cache.Close(ctx))
}

// compile takes machine code from the directory or makes it and puts it there. An entry that cannot be read (cut off by
// a full disk, say) is thrown away, and the module is compiled anew.
func compile(ctx context.Context, wasm []byte, dir string) (*code, error) {
	before := entries(dir)
	c, err := compileOnce(ctx, wasm, dir)
	if err != nil && len(before) > 0 {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("remove broken cache entry: %w", err)
		}
		before = nil
		c, err = compileOnce(ctx, wasm, dir)
	}
	if err != nil {
		return nil, err
	}
	c.cached = len(before) > 0 && slices.Equal(before, entries(dir))
	return c, nil
}

func compileOnce(ctx context.Context, wasm []byte, dir string) (*code, error) {
	cache, err := openCache(dir)
	if err != nil {
		return nil, err
	}
	c := &code{cache: cache}
	c.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().
		WithCloseOnContextDone(true).
		WithDebugInfoEnabled(false). // function names suffice, and DWARF doubles what a module takes
		WithCompilationCache(cache))
	if c.compiled, err = c.runtime.CompileModule(ctx, wasm); err != nil {
		return nil, errors.Join(err, c.close(ctx))
	}
	return c, nil
}
