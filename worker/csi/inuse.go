package csi

import (
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// InUse are the attached volumes that pods of the node have, or are about to: nobody may detach them. What is on disk
// counts, whether its pod is known or not.
func (d *Drivers) InUse() []corev1.UniqueVolumeName {
	d.mu.Lock()
	known, at := d.inUse, d.recorded
	d.mu.Unlock()
	if known != nil {
		return *known
	}
	var out []corev1.UniqueVolumeName
	paths, _ := filepath.Glob(filepath.Join(d.cfg.PodsDir, "*", "volumes", "*", recordName)) // the pattern is well formed
	for _, path := range paths {
		r, err := readRecord(filepath.Dir(path))
		if err != nil {
			d.cfg.Logger.Warn("volume was not looked at for whether it is in use", "error", err)
		}
		if r != nil && r.Attached {
			out = append(out, UniqueName(r.Driver, r.Handle))
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.recorded == at { // nothing was published or taken back meanwhile
		d.inUse = &out
	}
	return out
}

// UniqueName is a volume of a driver as the status of nodes names it.
func UniqueName(driver, handle string) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName("kubernetes.io/csi/" + driver + "^" + handle)
}

// noteRecords has the records looked at again: one was written or removed.
func (d *Drivers) noteRecords() {
	d.mu.Lock()
	d.inUse = nil
	d.recorded++
	d.mu.Unlock()
	if d.cfg.Changed != nil {
		d.cfg.Changed()
	}
}
