package volume

import (
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/env"
)

// Mount is one mount of a container.
type Mount struct {
	HostPath      string
	ContainerPath string
	ReadOnly      bool
}

// Mounts works out what the container mounts. A sub path that does not exist is made as a directory; one that leads
// out of its volume, also by a symbolic link that a guest made, is refused.
func Mounts(p *corev1.Pod, c *corev1.Container, host Host, vars []env.Var) ([]Mount, error) {
	var out []Mount
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		base, ok := host[m.Name]
		if !ok {
			return nil, fmt.Errorf("mount %s: the pod has no volume %q", m.MountPath, m.Name)
		}
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = env.Strings([]string{m.SubPathExpr}, vars)[0]
		}
		if sub != "" {
			var err error
			if base, err = subPath(base, sub); err != nil {
				return nil, fmt.Errorf("mount %s: %w", m.MountPath, err)
			}
		}
		out = append(out, Mount{HostPath: base, ContainerPath: m.MountPath, ReadOnly: m.ReadOnly || fixed(p, m.Name)})
	}
	return out, nil
}

func subPath(base, sub string) (string, error) {
	root, err := os.OpenRoot(base)
	if err != nil {
		return "", fmt.Errorf("open volume: %w", err)
	}
	defer root.Close()
	if _, err := root.Stat(sub); os.IsNotExist(err) {
		if err := root.MkdirAll(sub, dirMode); err != nil {
			return "", fmt.Errorf("make sub path %q: %w", sub, err)
		}
	} else if err != nil {
		return "", fmt.Errorf("open sub path %q: %w", sub, err)
	}
	return filepath.EvalSymlinks(filepath.Join(base, sub))
}

// fixed volumes have their content from the API and are never written to.
func fixed(p *corev1.Pod, name string) bool {
	for i := range p.Spec.Volumes {
		if v := &p.Spec.Volumes[i]; v.Name == name {
			return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
		}
	}
	return false
}
