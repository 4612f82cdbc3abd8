package ebpfproxy

import (
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// mapped is an array map in this process' memory: writing to it costs no system call.
type mapped[T any] struct {
	at  []T
	mem []byte
}

// mapArray maps m, whose values are of type T. The kernel rounds values up to 8 bytes; all of ours are multiples.
func mapArray[T any](m *ebpf.Map) (mapped[T], error) {
	var value T
	size := int(unsafe.Sizeof(value))
	if size%8 != 0 || size != int(m.ValueSize()) {
		return mapped[T]{}, fmt.Errorf("map %s: values of %d bytes are not of %d", m, m.ValueSize(), size)
	}
	n := int(m.MaxEntries())
	page := os.Getpagesize()
	mem, err := unix.Mmap(m.FD(), 0, (n*size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return mapped[T]{}, fmt.Errorf("map memory of %s: %w", m, err)
	}
	return mapped[T]{at: unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), n), mem: mem}, nil
}

func (m *mapped[T]) close() error {
	if m.mem == nil {
		return nil
	}
	mem := m.mem
	*m = mapped[T]{}
	return unix.Munmap(mem)
}
