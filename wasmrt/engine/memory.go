package engine

import (
	"fmt"

	"github.com/petrelrun/petrel/wasmrt/module"
	"golang.org/x/sys/unix"
)

// DefaultMemoryLimit is an instance's where its Spec names none.
const DefaultMemoryLimit = 256 << 20

// maxMemory is what 32 bits can address.
const maxMemory = 4 << 30

// linear is an instance's memory: an address range of the limit's size, reserved at once and backed page by page as the
// guest touches it. So growth never copies, and memory goes back to the kernel with the instance rather than with the
// next garbage collection.
type linear struct {
	base   []byte
	limit  uint64 // bytes, whole pages
	denied uint64 // what the last memory.grow asked for, if it was refused
}

// newLinear reserves memory for a module. The limit is the instance's in bytes, zero for the default.
func newLinear(info *module.Info, limit uint64) (*linear, error) {
	if limit == 0 {
		limit = DefaultMemoryLimit
	}
	limit = min(limit, maxMemory) / module.PageSize * module.PageSize
	if need := uint64(info.MemoryMinPages) * module.PageSize; need > limit {
		return nil, &MemoryError{Limit: limit, Need: need}
	}
	reserve := limit
	if info.MemoryHasMax {
		reserve = min(reserve, uint64(info.MemoryMaxPages)*module.PageSize)
	}
	l := &linear{limit: limit}
	if reserve == 0 {
		return l, nil
	}
	base, err := unix.Mmap(-1, 0, int(reserve), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes for an instance: %w", reserve, err)
	}
	l.base = base
	return l, nil
}

// Reallocate implements wazero's LinearMemory.
func (l *linear) Reallocate(size uint64) []byte {
	if size > uint64(len(l.base)) {
		l.denied = size
		return nil
	}
	l.denied = 0
	return l.base[:size:size]
}

// Free implements wazero's LinearMemory. wazero calls it as soon as a module is closed, which proc_exit and a kill do
// while host functions may still look at the memory: release does the work when the call has returned.
func (l *linear) Free() {}

func (l *linear) release() error {
	if l.base == nil {
		return nil
	}
	base := l.base
	l.base = nil
	return unix.Munmap(base)
}
