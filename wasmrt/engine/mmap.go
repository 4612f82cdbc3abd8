package engine

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrMaps says that the process may make no more mappings: each instance takes two.
var ErrMaps = errors.New("the process has no more memory maps, two for each instance: raise the sysctl vm.max_map_count")

// mmap maps a file, or memory of its own when fd is negative.
func mmap(fd int, size uint64, prot, flags int) ([]byte, error) {
	b, err := unix.Mmap(fd, 0, int(size), prot, flags)
	if err != nil {
		return nil, mapError(size, err)
	}
	return b, nil
}

// reserve takes a range of addresses whose memory comes with the first use.
func reserve(size uint64) ([]byte, error) {
	return mmap(-1, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
}

// mapOver puts a private view of an image over the beginning of a range.
func mapOver(base []byte, m *image) error {
	addr := unsafe.Pointer(unsafe.SliceData(base))
	got, err := unix.MmapPtr(m.fd, 0, addr, uintptr(m.size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE)
	if err != nil {
		return mapError(m.size, err)
	}
	if got != addr {
		return fmt.Errorf("map image: it is at %p instead of %p", got, addr)
	}
	return nil
}

// mapError explains the kernel's: it has one number for no memory and for too many mappings, and a private mapping that
// reserves nothing does not fail for want of memory.
func mapError(size uint64, err error) error {
	if errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("map %d bytes: %w (%w)", size, ErrMaps, err)
	}
	return fmt.Errorf("map %d bytes: %w", size, err)
}
