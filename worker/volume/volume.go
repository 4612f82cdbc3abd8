package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/env"
)

// Host is where a volume of the pod is on the machine, by volume name.
type Host map[string]string

// Maker makes the volumes of pods.
type Maker struct {
	Source env.Source
	// HostPaths are the directories of the machine below which hostPath volumes may lie.
	HostPaths []string
}

// ErrUnsupported marks volumes of a kind that the worker does not serve: trying again will not help.
var ErrUnsupported = errors.New("volume type is not supported")

// modes of directories; the files of a volume are readable by the pod's runner, which may run as another user.
const (
	dirMode      = 0o755
	emptyDirMode = 0o777
)

// Make makes every volume of the pod under dir and tells where they are.
func (m *Maker) Make(ctx context.Context, p *corev1.Pod, dir string, facts env.Facts) (Host, error) {
	host := Host{}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		path, err := m.one(ctx, p, v, filepath.Join(dir, v.Name), facts)
		if err != nil {
			return nil, fmt.Errorf("make volume %q: %w", v.Name, err)
		}
		host[v.Name] = path
	}
	return host, nil
}

func (m *Maker) one(ctx context.Context, p *corev1.Pod, v *corev1.Volume, path string, facts env.Facts) (string, error) {
	switch {
	case v.EmptyDir != nil:
		if err := os.MkdirAll(path, dirMode); err != nil {
			return "", err
		}
		return path, os.Chmod(path, emptyDirMode)
	case v.HostPath != nil:
		if err := m.allow(v.HostPath.Path); err != nil {
			return "", err
		}
		return v.HostPath.Path, hostPath(v.HostPath)
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil // made before the worker was restarted
	}
	c := &collector{ctx: ctx, pod: p, facts: facts, source: m.Source, files: map[string]file{}}
	if err := c.volume(v); err != nil {
		return "", err
	}
	return path, write(path, c.files)
}

// write makes the directory aside and moves it in place whole.
func write(path string, files map[string]file) error {
	aside := path + ".partial"
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := os.MkdirAll(aside, dirMode); err != nil {
		return err
	}
	root, err := os.OpenRoot(aside)
	if err != nil {
		return err
	}
	defer root.Close()
	for name, f := range files {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("file %q would lie outside of its volume", name)
		}
		if err := root.MkdirAll(filepath.Dir(name), dirMode); err != nil {
			return err
		}
		if err := root.WriteFile(name, f.content, f.mode); err != nil {
			return err
		}
		if err := root.Chmod(name, f.mode); err != nil { // past the umask
			return err
		}
	}
	return os.Rename(aside, path)
}

// allow refuses a path of the machine that is not below one of the directories that pods may see.
func (m *Maker) allow(path string) error {
	real, err := resolve(filepath.Clean(path))
	if err != nil {
		return err
	}
	for _, dir := range m.HostPaths {
		top, err := resolve(filepath.Clean(dir))
		if err != nil {
			continue // it is not there, so nothing is below it
		}
		if rel, err := filepath.Rel(top, real); err == nil && filepath.IsLocal(rel) {
			return nil
		}
	}
	return fmt.Errorf("host path %s is not below a directory that this node lets pods see (see --allow-host-path): %w", path, ErrUnsupported)
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

// hostPath checks or makes a path of the machine as the volume's type asks.
func hostPath(h *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	info, err := os.Stat(h.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case kind == corev1.HostPathDirectoryOrCreate && missing:
		return os.MkdirAll(h.Path, dirMode)
	case kind == corev1.HostPathFileOrCreate && missing:
		f, err := os.OpenFile(h.Path, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		return f.Close()
	case err != nil:
		return err
	}
	isDir := kind == corev1.HostPathDirectory || kind == corev1.HostPathDirectoryOrCreate
	isFile := kind == corev1.HostPathFile || kind == corev1.HostPathFileOrCreate
	switch {
	case isDir && !info.IsDir():
		return fmt.Errorf("host path %s is not a directory", h.Path)
	case isFile && !info.Mode().IsRegular():
		return fmt.Errorf("host path %s is not a file", h.Path)
	case kind != corev1.HostPathUnset && !isDir && !isFile:
		return fmt.Errorf("host path type %s: %w", kind, ErrUnsupported)
	}
	return nil
}
