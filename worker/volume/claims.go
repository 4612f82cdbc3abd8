package volume

import (
	"context"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	helpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/csi"
)

// Claims finds what is behind a claim.
type Claims interface {
	// Volume is the volume that a claim is bound to.
	Volume(ctx context.Context, namespace, claim string) (*corev1.PersistentVolume, error)
}

// claimed finds or makes what a claim's volume is on this node.
func (m *Maker) claimed(ctx context.Context, p *corev1.Pod, name, claim, dir string, readOnly bool) (place, error) {
	if m.Claims == nil {
		return place{}, fmt.Errorf("claim %s: %w", claim, ErrUnsupported)
	}
	v, err := m.Claims.Volume(ctx, p.Namespace, claim)
	if err != nil {
		return place{}, err
	}
	if ptr.Deref(v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem) == corev1.PersistentVolumeBlock {
		return place{}, fmt.Errorf("volume %s is a block device: %w", v.Name, ErrUnsupported)
	}
	at := place{readOnly: readOnly || onlyRead(v)}
	switch {
	case v.Spec.Local != nil:
		at.path, err = m.local(v)
		if err == nil && !at.readOnly {
			err = own(at.path, groupOf(p))
		}
	case v.Spec.HostPath != nil:
		if at.path, err = m.allow(v.Spec.HostPath.Path); err == nil {
			err = hostPath(at.path, ptr.Deref(v.Spec.HostPath.Type, corev1.HostPathUnset))
		}
	case v.Spec.CSI != nil:
		at, err = m.driven(ctx, p, &csi.Volume{Pod: p, Dir: dir, Name: name, Persistent: v, ReadOnly: at.readOnly})
	default:
		err = fmt.Errorf("%w: want csi, local or hostPath", ErrUnsupported)
	}
	if err != nil {
		return place{}, fmt.Errorf("volume %s: %w", v.Name, err)
	}
	return at, nil
}

// Drivers has CSI drivers mount volumes; worker/csi does.
type Drivers interface {
	Publish(ctx context.Context, v *csi.Volume) (csi.Published, error)
}

// driven has a CSI driver mount the volume.
func (m *Maker) driven(ctx context.Context, p *corev1.Pod, v *csi.Volume) (place, error) {
	if m.Drivers == nil {
		return place{}, fmt.Errorf("csi: %w", ErrUnsupported)
	}
	published, err := m.Drivers.Publish(ctx, v)
	if err == nil && published.GiveAway {
		err = own(published.Path, groupOf(p))
	}
	return place{path: published.Path, readOnly: v.ReadOnly}, err
}

// onlyRead tells whether a volume is for nothing but reading.
func onlyRead(v *corev1.PersistentVolume) bool {
	for _, mode := range v.Spec.AccessModes {
		if mode != corev1.ReadOnlyMany {
			return false
		}
	}
	return len(v.Spec.AccessModes) > 0
}

// local is the directory of a volume of this node. Those below the node's own directory are made by it; all others have
// to be there, where pods may look.
func (m *Maker) local(v *corev1.PersistentVolume) (string, error) {
	if err := helpers.CheckNodeAffinity(v, m.NodeLabels); err != nil {
		return "", fmt.Errorf("it is on another node: %w", err)
	}
	if dir, ok := m.OwnLocal(v); ok {
		return dir, ensureDir(dir, emptyDirMode)
	}
	dir, err := m.allow(v.Spec.Local.Path)
	if err != nil {
		return "", err
	}
	return dir, hostPath(dir, corev1.HostPathDirectory)
}

// OwnLocal is the directory of a local volume that this node makes itself; false for every other volume. Its name is
// the volume's, so that no path in an object leads elsewhere.
func (m *Maker) OwnLocal(v *corev1.PersistentVolume) (string, bool) {
	if v.Spec.Local == nil || m.LocalDir == "" || !filepath.IsLocal(v.Name) || filepath.Base(v.Name) != v.Name {
		return "", false
	}
	dir := filepath.Join(m.LocalDir, v.Name)
	return dir, filepath.Clean(v.Spec.Local.Path) == dir
}
