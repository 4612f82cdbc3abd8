package wasi

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	sys "github.com/tetratelabs/wazero/experimental/sys"
)

// open opens mounts and returns the file system of a preopen.
func open(t *testing.T, guestPath string, mounts ...Mount) (*Tree, sys.FS) {
	t.Helper()
	tree, err := Open(mounts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, p := range tree.Preopens() {
		if p.GuestPath == guestPath {
			return tree, p.FS
		}
	}
	t.Fatalf("no preopen %s in %v", guestPath, tree.Preopens())
	return nil, nil
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, fsys sys.FS, path string) (string, sys.Errno) {
	t.Helper()
	f, errno := fsys.OpenFile(path, sys.O_RDONLY, 0)
	if errno != 0 {
		return "", errno
	}
	defer f.Close()
	buf := make([]byte, 1000)
	n, errno := f.Read(buf)
	return string(buf[:n]), errno
}

func names(t *testing.T, fsys sys.FS, path string) []string {
	t.Helper()
	f, errno := fsys.OpenFile(path, sys.O_RDONLY|sys.O_DIRECTORY, 0)
	if errno != 0 {
		t.Fatalf("open %s: %v", path, errno)
	}
	defer f.Close()
	var all []string
	for {
		entries, errno := f.Readdir(2) // in pieces, as a guest with a small buffer does
		if errno != 0 {
			t.Fatal(errno)
		}
		for _, e := range entries {
			if e.Ino == 0 {
				t.Errorf("%s has no inode", e.Name)
			}
			all = append(all, e.Name)
		}
		if len(entries) < 2 {
			return all
		}
	}
}

func expect(t *testing.T, what string, got, want sys.Errno) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func isMode(t *testing.T, fsys sys.FS, path string, want fs.FileMode) {
	t.Helper()
	st, errno := fsys.Lstat(path)
	if errno != 0 || st.Mode.Type() != want {
		t.Errorf("lstat %s: %v, %v, want %v", path, st.Mode.Type(), errno, want)
	}
}
