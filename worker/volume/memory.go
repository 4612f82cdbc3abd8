package volume

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Memory is a file system of memory, one for all pods of a node, for what must not reach a disk. It is mounted as long as
// a pod has something there, whether the process lives or not.
type Memory struct {
	dir string
	log *slog.Logger

	mu      sync.Mutex
	refused bool
}

// NewMemory names where it is mounted.
func NewMemory(dir string, log *slog.Logger) *Memory { return &Memory{dir: dir, log: log} }

// memoryMode lets runners, who have users of their own, pass to what they mount, but not list what there is.
const memoryMode = 0o711

// Of is the directory of one who keeps something there, a pod; empty where this process may not mount. Once it is
// there, the memory stays mounted until Release.
func (m *Memory) Of(name string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refused {
		return "", nil
	}
	dir := filepath.Join(m.dir, name)
	err := m.mount()
	if err == nil {
		err = ensureDir(dir, memoryMode)
	}
	if errors.Is(err, unix.EPERM) {
		m.refused = true
		m.log.Warn("secrets of pods lie on disk, below the data directory: a worker that is not root cannot mount memory")
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("keep secrets in memory: %w", err)
	}
	return dir, nil
}

func (m *Memory) mount() error {
	if err := os.MkdirAll(m.dir, memoryMode); err != nil {
		return err
	}
	mounted, err := isMountPoint(m.dir)
	if err != nil || mounted {
		return err
	}
	return mountMemory(m.dir)
}

// mountMemory has the kernel keep the pages out of swap where it knows how (Linux 6.4).
func mountMemory(dir string) error {
	options := fmt.Sprintf("mode=%o", memoryMode)
	err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options+",noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
	}
	return err
}

// Release removes what one has there, and unmounts the memory when it was the last.
func (m *Memory) Release(name string) error {
	if err := Remove(filepath.Join(m.dir, name)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	entries, err := os.ReadDir(m.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil || len(entries) > 0 {
		return err
	}
	if mounted, err := isMountPoint(m.dir); err != nil || !mounted {
		return err
	}
	return unmount(m.dir)
}

// Confidential tells whether a volume's files come from what may be secret: as a kubelet does, the node keeps them in
// memory.
func Confidential(v *corev1.Volume) bool {
	return v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}
