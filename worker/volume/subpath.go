package volume

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// sub is where a container finds a sub path of the volume; own is the directory for what the container sees of sub
// paths, and name that of this one.
func (p place) sub(sub, own, name string, g group) (string, error) {
	if !filepath.IsLocal(sub) {
		return "", fmt.Errorf("sub path %q would lie outside of its volume", sub)
	}
	at := filepath.Join(own, name)
	root, err := os.OpenRoot(p.path)
	if err != nil {
		return "", fmt.Errorf("open volume: %w", err)
	}
	defer root.Close()
	if p.fixed {
		return at, snapshot(root, sub, own, at)
	}
	if err := madeSub(root, sub, g); err != nil {
		return "", err
	}
	err = bind(root, sub, own, at)
	if errors.Is(err, unix.EPERM) {
		// A worker that may not mount serves guests of the Wasm runtime alone, which open what they mount by themselves.
		real, err := filepath.EvalSymlinks(filepath.Join(p.path, sub))
		return real, errors.Join(err, os.Remove(at))
	}
	return at, err
}

// madeSub makes a sub path that does not exist as a directory, open to whoever may write to the volume.
func madeSub(root *os.Root, sub string, g group) error {
	_, err := root.Stat(sub)
	if !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return fmt.Errorf("open sub path %q: %w", sub, err)
		}
		return nil
	}
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	made := ""
	for part := range strings.SplitSeq(filepath.Clean(sub), "/") {
		made = filepath.Join(made, part)
		err := root.Mkdir(made, dirMode)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil && g.id != noGroup {
			err = root.Lchown(made, -1, g.id)
		}
		if err == nil {
			err = root.Chmod(made, info.Mode()&permissions)
		}
		if err != nil {
			return fmt.Errorf("make sub path %q: %w", sub, err)
		}
	}
	return nil
}

// snapshot copies a sub path of a volume that comes from the API: the container keeps it while the volume changes.
func snapshot(root *os.Root, sub, own, at string) error {
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	if err := os.MkdirAll(own, dirMode); err != nil {
		return err
	}
	info, err := root.Stat(sub)
	if err != nil {
		return fmt.Errorf("open sub path %q: %w", sub, err)
	}
	if !info.IsDir() {
		return copyFile(root, sub, at, info)
	}
	from, err := root.OpenRoot(sub)
	if err != nil {
		return fmt.Errorf("open sub path %q: %w", sub, err)
	}
	defer from.Close()
	if err := ensureDir(at, dirMode); err != nil {
		return err
	}
	return fs.WalkDir(from.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		if e.IsDir() {
			return ensureDir(filepath.Join(at, path), dirMode)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return copyFile(from, path, filepath.Join(at, path), info)
	})
}

func copyFile(root *os.Root, path, to string, info fs.FileInfo) error {
	from, err := root.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	into, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err = io.Copy(into, from); err == nil {
		err = into.Chmod(info.Mode().Perm())
	}
	if err == nil && os.Geteuid() == 0 {
		err = into.Chown(-1, gid(info))
	}
	return errors.Join(err, into.Close())
}

// bind mounts what the sub path leads to right now. It is taken by its descriptor, so that nobody who writes to the
// volume can put something else in its place before it is mounted.
func bind(root *os.Root, sub, own, at string) error {
	from, err := openPath(root, sub)
	if err != nil {
		return fmt.Errorf("open sub path %q: %w", sub, err)
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := clearPoint(at); err != nil {
		return err
	}
	if err := os.MkdirAll(own, dirMode); err != nil {
		return err
	}
	if info.IsDir() {
		err = os.Mkdir(at, dirMode)
	} else {
		err = touch(at)
	}
	if err != nil {
		return err
	}
	if err := clone(int(from.Fd()), at); err != nil {
		return fmt.Errorf("mount sub path %q: %w", sub, err)
	}
	return nil
}

// openPath opens a sub path for nothing but to be mounted; sockets and devices are no harm so.
func openPath(root *os.Root, sub string) (*os.File, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), sub, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), sub), nil
}

// clearPoint removes the mount that an earlier attempt at the container left, and what it was mounted on.
func clearPoint(at string) error {
	if _, err := os.Lstat(at); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for {
		mounted, err := isMountPoint(at)
		if err != nil {
			return err
		}
		if !mounted {
			return os.Remove(at)
		}
		if err := unmount(at); err != nil {
			return err
		}
	}
}

// clone mounts what the descriptor stands for, with all that is mounted below it.
func clone(fd int, at string) error {
	tree, err := unix.OpenTree(fd, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(tree)
	// What happens to the volume's own mounts is to be seen here, but unmounting this one must not unmount those.
	slave := &unix.MountAttr{Propagation: unix.MS_SLAVE}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, slave); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	return os.NewSyscallError("move_mount", unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH))
}
