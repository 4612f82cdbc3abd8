package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/tetratelabs/wazero"
)

// loadEntry takes a module from the cache. Every file's owner, mode and hash is checked; nothing of an entry is executed
// before all are. That it is not there is told as fs.ErrNotExist.
//
// The module that wazero decodes is only an outline, without the functions' bodies. So wazero must find the machine code
// and may not make its own: whether it did is checked afterwards.
func loadEntry(ctx context.Context, dir string) (*code, *module.Rewritten, error) {
	if err := checkOwned(dir); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			err = unusable(err)
		}
		return nil, nil, err
	}
	m, err := readManifest(dir)
	if err != nil {
		return nil, nil, unusable(err)
	}
	codePath := filepath.Join(dir, m.Code)
	for _, path := range []string{filepath.Dir(codePath), codePath, filepath.Join(dir, outlineFile), filepath.Join(dir, dataFile)} {
		if err := checkOwned(path); err != nil {
			return nil, nil, unusable(err)
		}
	}
	verified := make(chan error, 1)
	go func() { verified <- verifyCode(m, codePath) }()
	c, r, err := assemble(ctx, dir, m)
	if bad := <-verified; bad != nil {
		err = errors.Join(bad, err)
	}
	if err != nil {
		if c != nil {
			err = errors.Join(err, c.close(ctx))
		}
		return nil, nil, err
	}
	c.cached = true
	return c, r, nil
}

// unusable tells an entry that lacks a file from one that is not there, and one that others can write to from such a
// cache: it is made anew.
func unusable(err error) error {
	if errors.Is(err, errStale) {
		return err
	}
	return fmt.Errorf("%w: %v", errEntry, err)
}

func verifyCode(m *manifest, path string) error {
	content, err := mapFile(path)
	if err != nil {
		return err
	}
	return errors.Join(m.verify(m.Code, content), content.close())
}

// assemble makes what runs of an entry's files. What it returns may have to be closed even beside an error.
func assemble(ctx context.Context, dir string, m *manifest) (*code, *module.Rewritten, error) {
	outline, err := os.ReadFile(filepath.Join(dir, outlineFile))
	if err != nil {
		return nil, nil, err
	}
	if err := m.verify(outlineFile, outline); err != nil {
		return nil, nil, err
	}
	c, err := compileFound(ctx, dir, m, outline)
	if err != nil {
		return c, nil, err
	}
	if c.mapped, err = mapFile(filepath.Join(dir, dataFile)); err != nil {
		return c, nil, err
	}
	if err := m.verify(dataFile, c.mapped); err != nil {
		return c, nil, err
	}
	r := m.rewritten()
	if r.Data, err = unpackData(c.mapped); err != nil {
		return c, nil, fmt.Errorf("%w: %w", errEntry, err)
	}
	c.mapped.rest()
	return c, r, nil
}

// compileFound has wazero load the machine code that is there, and makes sure that this is what it did.
func compileFound(ctx context.Context, dir string, m *manifest, outline []byte) (*code, error) {
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStale, err)
	}
	before, err := codeFiles(dir)
	if err != nil || len(before) != 1 || before[0].path != m.Code {
		return &code{cache: cache}, fmt.Errorf("%w: %v", errStale, err)
	}
	c, err := compileWith(ctx, cache, outline)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errEntry, err)
	}
	after, err := codeFiles(dir)
	if err != nil || !slices.Equal(before, after) {
		return c, fmt.Errorf("%w: the engine did not take what is there (%v)", errStale, err)
	}
	return c, nil
}

// codeFile identifies a file of machine code as it was at one moment.
type codeFile struct {
	path     string // in the entry
	size     int64
	modified time.Time
}

// codeFiles lists what is in wazero's directories: one for each of its versions, of which there must be just one. An
// empty one stands for itself.
func codeFiles(dir string) ([]codeFile, error) {
	dirs, err := filepath.Glob(filepath.Join(dir, "wazero-*"))
	if err != nil {
		return nil, err
	}
	var found []codeFile
	for _, d := range dirs {
		entries, err := os.ReadDir(d)
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			found = append(found, codeFile{path: filepath.Base(d)})
		}
		for _, f := range entries {
			st, err := f.Info()
			if err != nil {
				return nil, err
			}
			found = append(found, codeFile{filepath.Join(filepath.Base(d), f.Name()), st.Size(), st.ModTime()})
		}
	}
	return found, nil
}
