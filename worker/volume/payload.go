package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Names within a volume whose files come from the API. Its users see links of the files' own names, which lead through
// dataLink to a directory with a name of its own for each version.
const (
	dataLink     = "..data"
	nextLink     = "..data_next"
	versionStart = "..v"
)

// written tells whether the volume has been written once.
func written(dir string) bool {
	_, err := os.Readlink(filepath.Join(dir, dataLink))
	return err == nil
}

// replace gives the volume these files, all at once; false when it has just these already.
func replace(dir string, files map[string]file, g group) (bool, error) {
	for name := range files {
		if !filepath.IsLocal(name) || strings.HasPrefix(name, "..") {
			return false, fmt.Errorf("file %q would lie outside of its volume", name)
		}
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return false, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, err
	}
	defer root.Close()
	current, err := root.Readlink(dataLink)
	if err != nil {
		current = ""
	}
	if current != "" && holds(root, current, files, g) {
		return false, nil
	}
	version, err := writeVersion(root, current, files, g)
	if err != nil {
		return false, err
	}
	if err := point(root, version); err != nil {
		return false, err
	}
	return true, errors.Join(link(root, files), clean(root, version, files))
}

// writeVersion writes the files into a directory that nobody sees yet.
func writeVersion(root *os.Root, current string, files map[string]file, g group) (string, error) {
	version := nextVersion(current)
	if err := root.RemoveAll(version); err != nil { // of a worker that was killed
		return "", err
	}
	if err := root.Mkdir(version, dirMode); err != nil {
		return "", err
	}
	into, err := root.OpenRoot(version)
	if err != nil {
		return "", err
	}
	defer into.Close()
	for name, f := range files {
		if err := into.MkdirAll(filepath.Dir(name), dirMode); err != nil {
			return "", err
		}
		if err := into.WriteFile(name, f.content, f.mode); err != nil {
			return "", err
		}
		if g.id != noGroup {
			if err := into.Lchown(name, -1, g.id); err != nil {
				return "", err
			}
		}
		if err := into.Chmod(name, g.mode(f.mode)); err != nil { // past the umask
			return "", err
		}
	}
	return version, nil
}

// mode lets the group that owns a volume read its files.
func (g group) mode(m fs.FileMode) fs.FileMode {
	if g.id == noGroup {
		return m
	}
	return m | groupReads
}

// nextVersion counts: times of the machine can repeat.
func nextVersion(current string) string {
	n := 0
	if number, ok := strings.CutPrefix(current, versionStart); ok {
		_, _ = fmt.Sscanf(number, "%d", &n) // of another form: begin anew
	}
	return fmt.Sprintf("%s%d", versionStart, n+1)
}

// point makes the version the one that all see, in one step.
func point(root *os.Root, version string) error {
	if err := root.Remove(nextLink); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.Symlink(version, nextLink); err != nil {
		return err
	}
	return root.Rename(nextLink, dataLink)
}

// link makes the names that users see.
func link(root *os.Root, files map[string]file) error {
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		target := filepath.Join(dataLink, top)
		if is, err := root.Readlink(top); err == nil && is == target {
			continue
		}
		if err := root.RemoveAll(top); err != nil {
			return err
		}
		if err := root.Symlink(target, top); err != nil {
			return err
		}
	}
	return nil
}

// clean removes what no version or only an old one has.
func clean(root *os.Root, version string, files map[string]file) error {
	keep := map[string]bool{version: true, dataLink: true}
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		keep[top] = true
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			if err := root.RemoveAll(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// holds tells whether a version is whole and has just these files.
func holds(root *os.Root, version string, files map[string]file, g group) bool {
	at, err := root.OpenRoot(version)
	if err != nil {
		return false
	}
	defer at.Close()
	left := len(files)
	same := true
	err = fs.WalkDir(at.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		want, ok := files[path]
		if !ok || !sameFile(at, path, want, g) {
			same = false
			return fs.SkipAll
		}
		left--
		return nil
	})
	return err == nil && same && left == 0 && linked(root, files)
}

func sameFile(at *os.Root, path string, want file, g group) bool {
	info, err := at.Lstat(path)
	if err != nil || info.Mode().Perm() != g.mode(want.mode) || g.id != noGroup && gid(info) != g.id {
		return false
	}
	content, err := at.ReadFile(path)
	return err == nil && bytes.Equal(content, want.content)
}

// linked tells whether all names lead to their files: a worker may have been killed before it made them.
func linked(root *os.Root, files map[string]file) bool {
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		if is, err := root.Readlink(top); err != nil || is != filepath.Join(dataLink, top) {
			return false
		}
	}
	return true
}
