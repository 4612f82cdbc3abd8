package volume

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/env"
)

// Mount is one mount of a container.
type Mount struct {
	HostPath      string
	ContainerPath string
	ReadOnly      bool
	// Propagation says whether mounts that are made later on one side are seen on the other; empty: they are not.
	Propagation corev1.MountPropagationMode
}

// subPaths is the directory for what containers see of sub paths, beside the volumes: no volume can have its name.
const subPaths = ".subpaths"

// Mounts works out what the container mounts. A sub path that does not exist is made as a directory; one that leads
// out of its volume, also by a symbolic link that a container made, is refused.
func Mounts(p *corev1.Pod, c *corev1.Container, host Host, vars []env.Var) ([]Mount, error) {
	var out []Mount
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		mount, err := mountOf(p, c, m, host, vars, strconv.Itoa(i))
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.MountPath, err)
		}
		out = append(out, mount)
	}
	return out, nil
}

func mountOf(p *corev1.Pod, c *corev1.Container, m *corev1.VolumeMount, host Host, vars []env.Var, name string) (Mount, error) {
	at, ok := host.places[m.Name]
	if !ok {
		return Mount{}, fmt.Errorf("the pod has no volume %q", m.Name)
	}
	if r := m.RecursiveReadOnly; r != nil && *r == corev1.RecursiveReadOnlyEnabled {
		return Mount{}, errors.New("recursiveReadOnly Enabled is not supported; use IfPossible")
	}
	out := Mount{HostPath: at.path, ContainerPath: m.MountPath, ReadOnly: m.ReadOnly || at.readOnly}
	if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
		out.Propagation = *m.MountPropagation
	}
	sub := m.SubPath
	if m.SubPathExpr != "" {
		var err error
		if sub, err = expand(m.SubPathExpr, vars); err != nil {
			return Mount{}, err
		}
	}
	if sub == "" {
		return out, nil
	}
	var err error
	if out.HostPath, err = at.sub(sub, filepath.Join(host.subPathsOf(at), c.Name), name, groupOf(p)); err != nil {
		return Mount{}, err
	}
	return out, nil
}

// subPathsOf is where containers find sub paths of a volume: copies of files are kept beside their volume, in memory or
// on disk; all else is no copy.
func (h Host) subPathsOf(at place) string {
	if at.fixed {
		return filepath.Join(filepath.Dir(at.path), subPaths)
	}
	return filepath.Join(h.dir, subPaths)
}

// expand replaces the references of a sub path, all of which must be known: a path that is made of what is left over
// would be shared by those who were to have one each.
func expand(expr string, vars []env.Var) (string, error) {
	missing := ""
	out := env.Expand(expr, func(name string) (string, bool) {
		for i := len(vars) - 1; i >= 0; i-- {
			if vars[i].Name == name {
				return vars[i].Value, true
			}
		}
		missing = name
		return "", false
	})
	if missing != "" {
		return "", fmt.Errorf("sub path %q: the container has no variable %q", expr, missing)
	}
	return out, nil
}
