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
// guest touches it, with an image mapped over its beginning. So growth never copies, and memory goes back to the kernel
// with the instance rather than with the next garbage collection.
type linear struct {
	base  []byte
	image *image // what the memory began as; nil: all zeros
	size  uint64 // as the guest sees it
	high  uint64 // the largest size since the memory was last the image
	top   uint64 // the largest size since it was last wiped: there may be pages up to there

	limit  uint64 // bytes, whole pages
	denied uint64 // what the last memory.grow asked for, if it was refused
	shrink uint64 // what the next Reallocate makes of the size, instead of what it is asked for; 0: nothing

	private []pageRun // pages that are not the image's any more, in order
	listed  bool      // private is complete, if there was no page fault since
	kept    int       // private pages left by the last reset
	resets  int       // since the memory was last wiped
}

// limits returns what an instance may use and what is reserved for it, in bytes. The limit is the instance's, zero for
// the default.
func limits(info *module.Info, limit uint64) (usable, reserved uint64, err error) {
	if limit == 0 {
		limit = DefaultMemoryLimit
	}
	limit = min(limit, maxMemory) / module.PageSize * module.PageSize
	if need := uint64(info.MemoryMinPages) * module.PageSize; need > limit {
		return 0, 0, &MemoryError{Limit: limit, Need: need}
	}
	reserved = limit
	if info.MemoryHasMax {
		reserved = min(reserved, uint64(info.MemoryMaxPages)*module.PageSize)
	}
	return limit, reserved, nil
}

// newLinear reserves memory for a module and maps the image, which may be nil.
func newLinear(info *module.Info, limit uint64, m *image) (*linear, error) {
	usable, reserved, err := limits(info, limit)
	if err != nil {
		return nil, err
	}
	l := &linear{limit: usable}
	if reserved == 0 {
		return l, nil
	}
	if err := countMaps(mapsOfInstance); err != nil {
		return nil, fmt.Errorf("reserve memory for an instance: %w", err)
	}
	if l.base, err = reserve(reserved); err != nil {
		_ = countMaps(-mapsOfInstance)
		return nil, fmt.Errorf("reserve memory for an instance: %w", err)
	}
	if m != nil && m.size > 0 {
		l.image = m
		if err := mapOver(l.base, m); err != nil {
			_ = l.release()
			return nil, err
		}
	}
	return l, nil
}

// Reallocate implements wazero's LinearMemory.
func (l *linear) Reallocate(size uint64) []byte {
	if l.shrink > 0 {
		size, l.shrink = l.shrink, 0
	}
	if size > uint64(len(l.base)) {
		l.denied = size
		return nil
	}
	l.denied = 0
	l.size = size
	l.high, l.top = max(l.high, size), max(l.top, size)
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
	l.base, l.size, l.high, l.top = nil, 0, 0, 0
	_ = countMaps(-mapsOfInstance) // giving back does not fail
	return unix.Munmap(base)
}
