package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// allow refuses a path of the machine that is not below one of the directories that pods may see, and else tells where
// it really is: what is mounted is what was looked at.
func (m *Maker) allow(path string) (string, error) {
	real, err := resolve(filepath.Clean(path))
	if err != nil {
		return "", err
	}
	for _, dir := range m.HostPaths {
		top, err := resolve(filepath.Clean(dir))
		if err != nil {
			continue // it is not there, so nothing is below it
		}
		if rel, err := filepath.Rel(top, real); err == nil && filepath.IsLocal(rel) {
			return real, nil
		}
	}
	return "", fmt.Errorf("host path %s is not below a directory that this node lets pods see (see --allow-host-path)", path)
}

// resolve follows the symbolic links of a path, of which the end need not be there yet.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
		return real, err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("host path %s: its symbolic link leads nowhere", path)
	}
	dir, err := resolve(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

// hostTypes say what must be at a path of the machine.
var hostTypes = map[corev1.HostPathType]struct {
	name string
	is   func(fs.FileMode) bool
}{
	corev1.HostPathDirectory:         {"a directory", fs.FileMode.IsDir},
	corev1.HostPathDirectoryOrCreate: {"a directory", fs.FileMode.IsDir},
	corev1.HostPathFile:              {"a file", fs.FileMode.IsRegular},
	corev1.HostPathFileOrCreate:      {"a file", fs.FileMode.IsRegular},
	corev1.HostPathSocket:            {"a socket", func(m fs.FileMode) bool { return m.Type() == fs.ModeSocket }},
	corev1.HostPathCharDev:           {"a character device", func(m fs.FileMode) bool { return m.Type() == fs.ModeDevice|fs.ModeCharDevice }},
	corev1.HostPathBlockDev:          {"a block device", func(m fs.FileMode) bool { return m.Type() == fs.ModeDevice }},
}

// hostPath checks or makes a path of the machine as the volume's type asks.
func hostPath(path string, kind corev1.HostPathType) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		switch kind {
		case corev1.HostPathDirectoryOrCreate:
			return os.MkdirAll(path, dirMode)
		case corev1.HostPathFileOrCreate:
			return touch(path)
		}
	}
	if err != nil {
		return err
	}
	if kind == corev1.HostPathUnset {
		return nil
	}
	want, ok := hostTypes[kind]
	switch {
	case !ok:
		return fmt.Errorf("host path type %s: %w", kind, ErrUnsupported)
	case !want.is(info.Mode()):
		return fmt.Errorf("host path %s is not %s", path, want.name)
	}
	return nil
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, defaultMode)
	if err != nil {
		return err
	}
	return f.Close()
}
