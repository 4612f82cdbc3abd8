package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoModule says that the root file system holds no module where the arguments say.
var ErrNoModule = errors.New("no module")

// magic is how a module begins.
const magic = "\x00asm"

// OpenModule opens the module that a container is to run: the file that its first argument names, found as a shell
// would, in the root file system at root.
func OpenModule(root string, c *Config) (*os.File, error) {
	dir, err := os.OpenFile(root, os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open root file system: %w", err)
	}
	defer dir.Close()
	for _, name := range candidates(c) {
		f, err := openIn(dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return f, nil
	}
	return nil, fmt.Errorf("%w: the image has no file %s", ErrNoModule, c.Args[0])
}

// candidates are the paths that the first argument may mean.
func candidates(c *Config) []string {
	name := c.Args[0]
	if path.IsAbs(name) {
		return []string{name}
	}
	dirs := []string{c.Dir}
	if !strings.Contains(name, "/") {
		for _, v := range c.Env {
			if list, ok := strings.CutPrefix(v, "PATH="); ok {
				dirs = append(dirs, strings.Split(list, ":")...)
			}
		}
	}
	var out []string
	for _, dir := range dirs {
		out = append(out, path.Join("/", dir, name))
	}
	return out
}

// openIn opens a module below dir. Links are followed as if dir were the root, and never out of it.
func openIn(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), strings.TrimPrefix(name, "/"), &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("open %s in the image: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := isModule(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// isModule looks at the first bytes. Whether the rest is sound is found out by a process that may die of it.
func isModule(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open module: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s in the image is no regular file", ErrNoModule, f.Name())
	}
	head := make([]byte, len(magic))
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read module: %w", err)
	}
	if string(head) != magic {
		return fmt.Errorf("%w: %s in the image is no WebAssembly: this runtime runs nothing else", ErrNoModule, f.Name())
	}
	return nil
}
