package engine

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrMaps says that the process may make no more mappings.
var ErrMaps = errors.New("the process has no more memory maps, of which an instance takes two: raise the sysctl vm.max_map_count")

const (
	// mapsOfInstance is what one takes: its range of addresses, and the image over its beginning.
	mapsOfInstance = 2
	// mapsOfHost is left to Go's runtime, which dies when it gets none, and to machine code.
	mapsOfHost = 8192
	// defaultMaps is the kernel's limit where it cannot be read.
	defaultMaps = 65530
)

// instanceMaps counts the mappings of all instances of the process.
var instanceMaps atomic.Int64

// maxInstanceMaps is how many there may be.
var maxInstanceMaps = sync.OnceValue(func() int64 {
	limit := int64(defaultMaps)
	if b, err := os.ReadFile("/proc/sys/vm/max_map_count"); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
			limit = n
		}
	}
	return max(limit-mapsOfHost, limit/2)
})

// countMaps takes or gives back an instance's share.
func countMaps(n int64) error {
	if instanceMaps.Add(n) > maxInstanceMaps() && n > 0 {
		instanceMaps.Add(-n)
		return ErrMaps
	}
	return nil
}

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
