package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/csi"
	"github.com/petrelrun/petrel/worker/env"
)

// Host is where the volumes of a pod are on the machine.
type Host struct {
	dir    string // below which they and their sub paths are made
	places map[string]place
}

// place is one volume on the machine.
type place struct {
	path string
	// fixed volumes have their content from the API and are never written to.
	fixed bool
	// readOnly is what the volume itself says, whatever the container's mount does.
	readOnly bool
}

// Path is where a volume is; empty for one that the pod has not.
func (h Host) Path(name string) string { return h.places[name].path }

// Maker makes the volumes of pods.
type Maker struct {
	Source env.Source
	// HostPaths are the directories of the machine below which hostPath volumes may lie.
	HostPaths []string
	// Claims finds the volumes behind claims; nil: pods can have none.
	Claims Claims
	// Drivers has CSI drivers mount volumes; nil: there are none.
	Drivers Drivers
	// LocalDir is where this node makes its local volumes, and NodeLabels are what volumes choose their node by.
	LocalDir   string
	NodeLabels map[string]string
	// Memory names the pod's directory in memory, for volumes that are Confidential; an empty name, or nil: they lie on disk.
	Memory func() (string, error)
	// Guests says that guests of the Wasm runtime mount the volumes. The process that opens files for them has a user
	// that no pod can name, so files from the API are readable for it whatever their mode.
	Guests bool
	// Logger hears of what is kept as it was because it could not be renewed; nil: nobody.
	Logger *slog.Logger
}

// ErrUnsupported marks volumes of a kind that the worker does not serve: trying again will not help.
var ErrUnsupported = errors.New("volume type is not supported")

// modes of directories; the files of a volume are readable by the pod's runner, which may run as another user.
const (
	dirMode      = 0o755
	emptyDirMode = 0o777
)

// Make makes every volume of the pod under dir, renews those that are there, and tells where they are.
func (m *Maker) Make(ctx context.Context, p *corev1.Pod, dir string, facts env.Facts) (Host, error) {
	host := Host{dir: dir, places: map[string]place{}}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		path, err := m.pathOf(dir, v)
		if err != nil {
			return Host{}, fmt.Errorf("make volume %q: %w", v.Name, err)
		}
		at, err := m.one(ctx, p, v, path, facts)
		if err != nil {
			return Host{}, fmt.Errorf("make volume %q: %w", v.Name, err)
		}
		host.places[v.Name] = at
	}
	return host, nil
}

// pathOf is where a volume of the pod is to be. One that was written on disk, maybe by a worker that could do no better,
// stays there: containers have it.
func (m *Maker) pathOf(dir string, v *corev1.Volume) (string, error) {
	path := filepath.Join(dir, v.Name)
	if m.Memory == nil || !Confidential(v) || written(path) {
		return path, nil
	}
	memory, err := m.Memory()
	if err != nil || memory == "" {
		return path, err
	}
	// Whether there is a pod's directory on disk tells whether there is something to remove.
	return filepath.Join(memory, v.Name), os.MkdirAll(dir, dirMode)
}

func (m *Maker) one(ctx context.Context, p *corev1.Pod, v *corev1.Volume, path string, facts env.Facts) (place, error) {
	switch {
	case v.EmptyDir != nil:
		return place{path: path}, emptyDir(p, v.EmptyDir, path, facts)
	case v.HostPath != nil:
		real, err := m.allow(v.HostPath.Path)
		if err != nil {
			return place{}, err
		}
		return place{path: real}, hostPath(real, ptr.Deref(v.HostPath.Type, corev1.HostPathUnset))
	case v.CSI != nil:
		return m.driven(ctx, p, &csi.Volume{Pod: p, Dir: path, Name: v.Name, Inline: v.CSI})
	case v.PersistentVolumeClaim != nil:
		return m.claimed(ctx, p, v.Name, v.PersistentVolumeClaim.ClaimName, path, v.PersistentVolumeClaim.ReadOnly)
	case v.Ephemeral != nil:
		return m.claimed(ctx, p, v.Name, p.Name+"-"+v.Name, path, false)
	}
	at := place{path: path, fixed: true, readOnly: true}
	_, err := m.content(ctx, p, v, path, facts)
	if err != nil && written(path) && ctx.Err() == nil {
		// The pod has it already, maybe from before a restart of the worker: what it refers to may be gone since.
		m.log().Warn("volume keeps its old content", "pod", p.Namespace+"/"+p.Name, "volume", v.Name, "error", err)
		err = nil
	}
	return at, err
}

// content writes a volume whose files come from the API; false when they are all there.
func (m *Maker) content(ctx context.Context, p *corev1.Pod, v *corev1.Volume, path string, facts env.Facts) (bool, error) {
	c := &collector{ctx: ctx, pod: p, facts: facts, source: m.Source, files: map[string]file{}}
	if err := c.volume(v); err != nil {
		return false, err
	}
	if m.Guests {
		c.open()
	}
	return replace(path, c.files, groupOf(p))
}

func (m *Maker) log() *slog.Logger {
	if m.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return m.Logger
}

// Renew brings the volumes whose files come from the API up to date and names those that changed.
func (m *Maker) Renew(ctx context.Context, p *corev1.Pod, dir string, facts env.Facts) (changed []string, err error) {
	var errs []error
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if !FromAPI(v) {
			continue
		}
		var is bool
		path, err := m.pathOf(dir, v)
		if err == nil {
			is, err = m.content(ctx, p, v, path, facts)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("renew volume %q: %w", v.Name, err))
		}
		if is {
			changed = append(changed, v.Name)
		}
	}
	return changed, errors.Join(errs...)
}

// FromAPI tells whether the files of a volume come from the API, so that they may change.
func FromAPI(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// ensureDir makes a directory with exactly this mode, whatever the umask; one that is there keeps its own.
func ensureDir(path string, mode os.FileMode) error {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return nil
	}
	if err := os.MkdirAll(path, dirMode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
