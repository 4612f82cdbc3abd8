package volume

import (
	"context"
	"io/fs"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// blockSize is the unit in which the kernel counts what files take.
const blockSize = 512

// Usage is what a directory takes on disk, in bytes. Files with several names count once, and what is mounted in it is
// not counted.
func Usage(ctx context.Context, dir string) (int64, error) {
	var sum int64
	var device uint64
	type file struct{ device, inode uint64 }
	seen := map[file]bool{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return unlessGone(err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		info, err := e.Info()
		if err != nil {
			return unlessGone(err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		switch {
		case path == dir:
			device = st.Dev
		case st.Dev != device && e.IsDir():
			return fs.SkipDir
		case st.Dev != device:
			return nil
		}
		if st.Nlink > 1 && !e.IsDir() {
			if seen[file{st.Dev, st.Ino}] {
				return nil
			}
			seen[file{st.Dev, st.Ino}] = true
		}
		sum += st.Blocks * blockSize
		return nil
	})
	return sum, err
}

// Limited names the empty directories on disk that have a limit, with the limit in bytes. Those in memory are kept to
// theirs by the kernel.
func Limited(p *corev1.Pod) map[string]int64 {
	var out map[string]int64
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if e := v.EmptyDir; e != nil && e.Medium == corev1.StorageMediumDefault && e.SizeLimit != nil && e.SizeLimit.Value() > 0 {
			if out == nil {
				out = map[string]int64{}
			}
			out[v.Name] = e.SizeLimit.Value()
		}
	}
	return out
}

// Local tells whether a volume lies on the node's disk and goes with its pod.
func Local(v *corev1.Volume) bool {
	return v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumDefault || FromAPI(v)
}
