package engine

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxKept bounds the pages that a reset writes back rather than throws away: what an idle instance keeps for itself.
	maxKept = 1024
	// wipeEvery is after how many resets all pages are thrown away, so that those only few requests need do not
	// accumulate. Faulting in the rest again is spread over as many requests.
	wipeEvery = 512
	// fewKept is what is not worth throwing away.
	fewKept = 16
)

// reset makes the memory what its image is. Pages that the guest has written to are written back, in place, because the
// next request writes to most of them again and a page fault costs ten times the copy. It never relies on having seen
// what was written: the kernel says which pages are not the image's.
func (l *linear) reset() error {
	used := l.base[:l.high]
	l.resets++
	if len(used) == 0 {
		return nil
	}
	if fd := pagemap(); fd >= 0 && (l.resets < wipeEvery || l.kept <= fewKept) && l.writeBack(fd, used) {
		return nil
	}
	return l.wipe()
}

// writeBack gives each page that is not the image's any more the image's content; zeros, where the memory has grown
// beyond it. It returns false when there are too many, or the kernel does not say.
func (l *linear) writeBack(fd int, used []byte) bool {
	s := scanners.Get().(*scanner)
	defer scanners.Put(s)
	var view []byte
	if l.image != nil {
		view = l.image.view
	}
	start := uint64(uintptr(unsafe.Pointer(&used[0])))
	l.kept = 0
	for next := uint64(0); next < uint64(len(used)); {
		var regions []pageRegion
		var ok bool
		if regions, next, ok = s.scan(fd, used, next); !ok {
			return false
		}
		for _, r := range regions {
			if l.kept += int(r.end-r.start) / osPage; l.kept > maxKept {
				return false
			}
			dirty := used[r.start-start : r.end-start]
			from := min(r.start-start, uint64(len(view)))
			n := copy(dirty, view[from:])
			clear(dirty[n:])
		}
	}
	return true
}

// wipe throws the private pages away: the kernel shows the image again, and zeros beyond it.
func (l *linear) wipe() error {
	if l.top > 0 {
		if err := unix.Madvise(l.base[:l.top], unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("give memory back: %w", err)
		}
	}
	l.top, l.kept, l.resets = l.high, 0, 0
	return nil
}

// settle is called when the memory was reset and has the size that the next request begins with: beyond it are zeros.
func (l *linear) settle() { l.high, l.denied = l.size, 0 }
