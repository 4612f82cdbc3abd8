package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"
)

const (
	// workPrefix begins the names of directories in which entries are made. Who makes one may be killed at any time: an
	// entry is renamed into its place when it is whole.
	workPrefix = ".work-"
	// workAge is when such a directory is taken for left behind: no compilation takes as long.
	workAge = time.Hour
)

// writeEntry compiles a rewritten module and puts it into the cache. The code it returns is usable even when it could
// not be kept, which err says then; without code the module is invalid.
func (e *Engine) writeEntry(ctx context.Context, r *module.Rewritten, dir string) (c *code, err error) {
	work, err := e.workDir()
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(work) }() // what stays is swept later
	full := filepath.Join(work, "full")
	cache, err := wazero.NewCompilationCacheWithDir(full)
	if err != nil {
		return nil, err
	}
	if c, err = compileWith(ctx, cache, r.Wasm); err != nil {
		return nil, err
	}
	return c, e.keep(ctx, r, full, filepath.Join(work, "entry"), dir)
}

// workDir makes a directory to work in, and sweeps those that were left behind.
func (e *Engine) workDir() (string, error) {
	parent := e.optionsDir()
	if err := os.MkdirAll(parent, cacheDirMode); err != nil {
		return "", fmt.Errorf("make cache: %w", err)
	}
	left, err := os.ReadDir(parent)
	if err != nil {
		return "", fmt.Errorf("sweep cache: %w", err)
	}
	for _, d := range left {
		st, err := d.Info()
		if err == nil && strings.HasPrefix(d.Name(), workPrefix) && time.Since(st.ModTime()) > workAge {
			_ = os.RemoveAll(filepath.Join(parent, d.Name()))
		}
	}
	return os.MkdirTemp(parent, workPrefix)
}

// keep makes an entry of the machine code in full and moves it to its place.
func (e *Engine) keep(ctx context.Context, r *module.Rewritten, full, entry, dir string) error {
	outline, err := module.Outline(r.Wasm)
	if err != nil {
		return err
	}
	// wazero looks for machine code by a hash of the module, which only wazero makes: so it compiles the outline, and the
	// real code takes the place of what comes of that.
	cache, err := wazero.NewCompilationCacheWithDir(entry)
	if err != nil {
		return err
	}
	stand, err := compileWith(ctx, cache, outline)
	if err != nil {
		return err
	}
	if err := stand.close(ctx); err != nil {
		return err
	}
	from, err := onlyCode(full)
	if err != nil {
		return err
	}
	to, err := onlyCode(entry)
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(full, from), filepath.Join(entry, to)); err != nil {
		return err
	}
	if err := writeFiles(entry, to, outline, r); err != nil {
		return err
	}
	return putEntry(entry, dir)
}

func onlyCode(dir string) (string, error) {
	files, err := codeFiles(dir)
	if err != nil {
		return "", err
	}
	if len(files) != 1 {
		return "", fmt.Errorf("the engine wrote %d files of machine code", len(files))
	}
	return files[0].path, nil
}

func writeFiles(entry, codePath string, outline []byte, r *module.Rewritten) error {
	m := manifest{
		Processor: processor(), Code: codePath, Files: map[string]fileSum{},
		Start: r.Start, Counter: r.Counter, NoSnapshot: r.NoSnapshot, Globals: r.Globals,
	}
	machine, err := mapFile(filepath.Join(entry, codePath))
	if err != nil {
		return err
	}
	m.Files[codePath] = sumOf(machine)
	if err := machine.close(); err != nil {
		return err
	}
	for name, content := range map[string][]byte{outlineFile: outline, dataFile: packData(r.Data)} {
		m.Files[name] = sumOf(content)
		if err := os.WriteFile(filepath.Join(entry, name), content, entryFileMode); err != nil {
			return err
		}
	}
	text, err := m.encode()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(entry, manifestFile), text, entryFileMode); err != nil {
		return err
	}
	// The umask and wazero have their own ideas of modes.
	return filepath.WalkDir(entry, func(path string, d fs.DirEntry, err error) error {
		mode := fs.FileMode(entryFileMode)
		if err == nil && d.IsDir() {
			mode = entryDirMode
		}
		if err != nil {
			return err
		}
		return os.Chmod(path, mode)
	})
}

// putAttempts is how often an entry is moved to where others make and remove theirs.
const putAttempts = 20

// putEntry moves a finished entry to its place. If two processes make the same one, either will do. What is there changes
// places with it, so that no reader finds a gap: wazero makes its directory again for one who does, which is no entry and
// would stay.
func putEntry(entry, dir string) (err error) {
	for range putAttempts {
		if err = os.Rename(entry, dir); err == nil {
			return nil
		}
		err = unix.Renameat2(unix.AT_FDCWD, entry, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
		switch {
		case err == nil:
			return nil // the old one is deleted with the directory that this one was made in
		case errors.Is(err, fs.ErrNotExist): // it has been removed meanwhile
		default: // not every file system can do it
			if err := removeEntry(dir); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("put entry %s: %w", dir, err)
}
