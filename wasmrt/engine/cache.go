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
	"syscall"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/tetratelabs/wazero"
)

// cacheOptions names the options that machine code is compiled with. It is part of the path, so changing an option must
// change it. wazero adds its own version, the architecture and the processor's abilities.
const cacheOptions = "v2-" + module.RewriteVersion + "-v2features"

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
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make cache: %w", err)
	}
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	return cache, nil
}

// errCacheOpen is for a cache that others could put their own machine code into.
var errCacheOpen = errors.New("the cache directory must belong to this user, and nobody else may write to it")

// checkOwner refuses a cache directory that is not ours alone: what is in it will be executed.
func checkOwner(dir string) error {
	st, err := os.Lstat(dir)
	if err != nil {
		return nil //nolint:nilerr // it is not there, or whoever opens it meets the same error
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if !st.IsDir() || st.Mode().Perm()&0o022 != 0 || !ok || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("open cache %s (%s): %w", dir, st.Mode(), errCacheOpen)
	}
	return nil
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

// compile takes machine code from the cache or makes it and puts it there. An entry that cannot be read (cut off, say)
// is thrown away, and the module is compiled anew; where nothing can be written (a full disk), it is compiled all the
// same. A module that does not validate gives an *module.Error.
func (e *Engine) compile(ctx context.Context, wasm []byte, digest string) (*code, error) {
	dir := e.cacheDir(digest)
	if dir != "" {
		if err := errors.Join(checkOwner(e.cfg.CacheDir), checkOwner(dir)); err != nil {
			return nil, err
		}
	}
	before := entries(dir)
	c, err := compileOnce(ctx, wasm, dir)
	if err != nil && len(before) > 0 {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("remove broken cache entry: %w", err)
		}
		before = nil
		c, err = compileOnce(ctx, wasm, dir)
	}
	if err != nil && dir != "" {
		// An invalid module fails before anything is compiled, so asking again costs little.
		troubled := err
		if c, err = compileOnce(ctx, wasm, ""); err == nil {
			e.log.Warn("machine code is not kept", "digest", digest, "err", troubled)
		}
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
		WithDebugInfoEnabled(false). // function names suffice, and DWARF doubles what a module takes
		WithCompilationCache(cache))
	if c.compiled, err = c.runtime.CompileModule(withWorkers(ctx), wasm); err != nil {
		err = &module.Error{
			Code:  module.CodeInvalid,
			Cause: fmt.Sprintf("the module does not compile: %v", err),
			Fix:   "build it with a current toolchain for WebAssembly 2.0 without proposals beyond it",
		}
		return nil, errors.Join(err, c.close(ctx))
	}
	return c, nil
}
