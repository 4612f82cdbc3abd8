package volume

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/env"
)

// emptyDir makes an empty directory, on disk or in memory. What is in it already stays.
func emptyDir(p *corev1.Pod, e *corev1.EmptyDirVolumeSource, path string, facts env.Facts) error {
	switch e.Medium {
	case corev1.StorageMediumDefault:
		if err := ensureDir(path, emptyDirMode); err != nil {
			return err
		}
	case corev1.StorageMediumMemory:
		if err := inMemory(path, memorySize(p, e, facts)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("emptyDir of medium %s: %w", e.Medium, ErrUnsupported)
	}
	return own(path, groupOf(p))
}

// inMemory mounts a file system of memory, unless it is mounted already.
func inMemory(path string, size int64) error {
	if err := os.MkdirAll(path, dirMode); err != nil {
		return err
	}
	mounted, err := isMountPoint(path)
	if err != nil || mounted {
		return err
	}
	options := fmt.Sprintf("mode=%o", emptyDirMode)
	if size > 0 {
		options += fmt.Sprintf(",size=%d", size)
	}
	err = unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("emptyDir of medium Memory: a worker that is not root cannot mount memory: %w", ErrUnsupported)
	}
	if err != nil {
		return fmt.Errorf("mount memory: %w", err)
	}
	return nil
}

// memorySize bounds what is in memory: by its own limit, by what the pod's containers may use together where all of
// them are limited, and by what the node has for pods; 0 where nothing is known.
func memorySize(p *corev1.Pod, e *corev1.EmptyDirVolumeSource, facts env.Facts) int64 {
	size := int64(0)
	least := func(n int64) {
		if n > 0 && (size == 0 || n < size) {
			size = n
		}
	}
	least(facts.Allocatable.Memory().Value())
	least(podMemory(p))
	if e.SizeLimit != nil {
		least(e.SizeLimit.Value())
	}
	return size
}

// podMemory is the sum of the containers' limits; 0 when one of them has none.
func podMemory(p *corev1.Pod) int64 {
	sum := int64(0)
	for i := range p.Spec.Containers {
		limit := p.Spec.Containers[i].Resources.Limits.Memory().Value()
		if limit == 0 {
			return 0
		}
		sum += limit
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		limit := c.Resources.Limits.Memory().Value()
		switch {
		case limit == 0:
			return 0
		case c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways:
			sum += limit
		default:
			sum = max(sum, limit)
		}
	}
	return sum
}
