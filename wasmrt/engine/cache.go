package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// cacheOptions names the options that machine code is compiled with and the form of an entry. It is part of the path, so
// changing either must change it. wazero's version is part of the path too, and the processor is told in the manifest.
const cacheOptions = "v3-" + module.RewriteVersion + "-v2features"

// What is in the cache may be read by whoever knows its name, so that runners of other users can: it is made of a module
// whose digest they were told. Only the owner writes.
const (
	cacheDirMode   = 0o711 // on the way to an entry: its name must be known
	entryDirMode   = 0o755
	entryFileMode  = 0o644
	forbiddenModes = 0o022
)

var (
	// ErrNotCached is what Load says under ReadOnlyCache when there is no entry for the module, or none that can be used.
	ErrNotCached = errors.New("the machine code is not in the cache")
	// errCacheOpen is for a cache that others could put their own machine code into.
	errCacheOpen = errors.New("the cache must belong to this user or root, and nobody else may write to it")
	// errEntry is for an entry that is not what was written.
	errEntry = errors.New("the cache entry is damaged")
	// errStale is for an entry that another engine or processor would use.
	errStale = errors.New("the cache entry is for another engine or processor")
)

// optionsDir holds the entries of these options; empty when nothing is kept.
func (e *Engine) optionsDir() string {
	if e.cfg.CacheDir == "" {
		return ""
	}
	return filepath.Join(e.cfg.CacheDir, cacheOptions)
}

// entryDir is where a digest's entry is.
func (e *Engine) entryDir(digest string) string {
	return filepath.Join(e.optionsDir(), strings.ReplaceAll(digest, ":", "-"))
}

// EvictCache removes a digest's machine code from the disk. A loaded template is not touched.
func (e *Engine) EvictCache(digest string) error {
	if e.cfg.CacheDir == "" || e.cfg.ReadOnlyCache {
		return nil
	}
	if err := removeEntry(e.entryDir(digest)); err != nil {
		return fmt.Errorf("evict %s: %w", digest, err)
	}
	return nil
}

// removeEntry takes an entry away at once, so that nobody finds half of it, and then deletes it.
func removeEntry(dir string) error {
	trash, err := os.MkdirTemp(filepath.Dir(dir), workPrefix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = os.Rename(dir, filepath.Join(trash, "entry"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(trash))
}

// checkOwned refuses what is not ours alone, or root's: what is in it will be executed.
func checkOwned(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	kind := st.Mode().IsDir() || st.Mode().IsRegular()
	if !kind || st.Mode().Perm()&forbiddenModes != 0 || !ok || owner.Uid != 0 && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("open cache %s (%s): %w", path, st.Mode(), errCacheOpen)
	}
	return nil
}

// checkCache looks at the directories above the entries. Those that are not there are made by whoever writes.
func (e *Engine) checkCache() error {
	for _, dir := range []string{e.cfg.CacheDir, e.optionsDir()} {
		if err := checkOwned(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return err
		}
	}
	return nil
}
