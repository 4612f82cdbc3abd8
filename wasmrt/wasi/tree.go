package wasi

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"

	sys "github.com/tetratelabs/wazero/experimental/sys"
)

// MaxOpenFiles bounds the files and directories that one instance has open.
const MaxOpenFiles = 256

// Preopen is a directory handed to the guest.
type Preopen struct {
	GuestPath string
	FS        sys.FS
}

// Tree is the files one instance sees.
type Tree struct {
	// Alive is called before each piece of a read or write. It may panic to end the guest: one call of a guest can move
	// any number of pieces. Nil: nothing is called.
	Alive func()

	preopens []Preopen
	roots    []*os.Root

	mu     sync.Mutex
	files  map[*file]struct{}
	closed bool
}

// Open opens what the mounts name. The caller closes the Tree after the instance.
func Open(mounts []Mount) (*Tree, error) {
	if err := ValidateAll(mounts); err != nil {
		return nil, err
	}
	t := &Tree{files: map[*file]struct{}{}}
	dirs := map[string]*dirFS{}
	dir := func(guest string) *dirFS {
		d := dirs[guest]
		if d == nil {
			d = &dirFS{tree: t, single: map[string]single{}}
			dirs[guest] = d
			t.preopens = append(t.preopens, Preopen{GuestPath: guest, FS: d})
		}
		return d
	}
	for _, m := range mounts {
		if err := t.mount(m, dir); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	slices.SortFunc(t.preopens, func(a, b Preopen) int { return cmpPath(a.GuestPath, b.GuestPath) })
	return t, nil
}

// cmpPath puts parents before children, so that descriptors are numbered the same in every instance.
func cmpPath(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

func (t *Tree) mount(m Mount, dir func(string) *dirFS) error {
	host, err := filepath.EvalSymlinks(m.HostPath)
	if err != nil {
		return fmt.Errorf("open mount %s: %w", m.GuestPath, err)
	}
	st, err := os.Lstat(host)
	if err != nil {
		return fmt.Errorf("open mount %s: %w", m.GuestPath, err)
	}
	switch {
	case st.IsDir():
		root, err := t.root(host)
		if err != nil {
			return fmt.Errorf("open mount %s: %w", m.GuestPath, err)
		}
		dir(m.GuestPath).base = &jail{root: root, readOnly: m.ReadOnly}
	case st.Mode().IsRegular():
		if m.GuestPath == "/" {
			return errors.New("open mount /: the host's path is a file, and the guest's root is a directory")
		}
		root, err := t.root(filepath.Dir(host))
		if err != nil {
			return fmt.Errorf("open mount %s: %w", m.GuestPath, err)
		}
		dir(path.Dir(m.GuestPath)).single[path.Base(m.GuestPath)] = single{
			jail: &jail{root: root, readOnly: m.ReadOnly},
			name: filepath.Base(host),
		}
	default:
		return fmt.Errorf("open mount %s: the host's path is neither a directory nor a regular file (%s)", m.GuestPath, st.Mode().Type())
	}
	return nil
}

func (t *Tree) root(host string) (*os.Root, error) {
	root, err := os.OpenRoot(host)
	if err == nil {
		t.roots = append(t.roots, root)
	}
	return root, err
}

// Preopens lists the directories to hand to the guest, parents first.
func (t *Tree) Preopens() []Preopen { return t.preopens }

// OpenFiles tells how many files the guest has open.
func (t *Tree) OpenFiles() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.files)
}

// Close closes every file that the guest left open and then the jails. It may be called twice.
func (t *Tree) Close() error {
	t.mu.Lock()
	files := t.files
	t.files = nil
	t.closed = true
	t.mu.Unlock()
	var errs []error
	for f := range files {
		if err := f.f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, r := range t.roots {
		if err := r.Close(); err != nil {
			errs = append(errs, err)
		}
	}
	t.roots = nil
	return errors.Join(errs...)
}

// add takes a file into the ledger, unless it is full.
func (t *Tree) add(f *file) sys.Errno {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return sys.EBADF
	}
	if len(t.files) >= MaxOpenFiles {
		return sys.EAGAIN // WASI has EMFILE, the engine does not know it
	}
	t.files[f] = struct{}{}
	return 0
}

func (t *Tree) remove(f *file) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.files, f)
}
