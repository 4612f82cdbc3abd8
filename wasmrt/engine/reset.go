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

// pageRun is a number of neighbouring pages, counted from the memory's beginning.
type pageRun struct{ first, pages uint32 }

// reset makes the memory what its image is. Pages that the guest has written to are written back, in place, because the
// next request writes to most of them again and a page fault costs ten times the copy. It never relies on having seen
// what was written: the kernel says which pages are not the image's, or that none has been added to them (quiet).
func (l *linear) reset(quiet bool) error {
	l.resets++
	if l.high == 0 {
		return nil
	}
	if l.resets >= wipeEvery && l.kept > fewKept {
		return l.wipe()
	}
	// Memory beyond the image is anonymous: there the kernel may put a huge page in place of small ones by itself, and so
	// make pages private without a fault.
	if quiet && l.listed && l.image != nil && l.high <= l.image.size {
		l.writeBack()
		return nil
	}
	if fd := pagemap(); fd >= 0 && l.list(fd) {
		l.writeBack()
		return nil
	}
	return l.wipe()
}

// list asks the kernel for the pages that are not the image's any more. It returns false when there are too many, or the
// kernel does not say.
func (l *linear) list(fd int) bool {
	s := scanners.Get().(*scanner)
	defer scanners.Put(s)
	l.private, l.kept, l.listed = l.private[:0], 0, false
	used := l.base[:l.top]
	start := uint64(uintptr(unsafe.Pointer(&used[0])))
	for next := uint64(0); next < uint64(len(used)); {
		var regions []pageRegion
		var ok bool
		if regions, next, ok = s.scan(fd, used, next); !ok {
			return false
		}
		for _, r := range regions {
			pages := int(r.end-r.start) / osPage
			if l.kept += pages; l.kept > maxKept {
				return false
			}
			l.private = append(l.private, pageRun{uint32((r.start - start) / uint64(osPage)), uint32(pages)})
		}
	}
	l.listed = true
	return true
}

// writeBack gives each private page that the guest could have written to the image's content; zeros, where the memory has
// grown beyond it.
func (l *linear) writeBack() {
	var view []byte
	if l.image != nil {
		view = l.image.view
	}
	for _, r := range l.private {
		begin := uint64(r.first) * uint64(osPage)
		end := min(begin+uint64(r.pages)*uint64(osPage), l.high)
		if begin >= end {
			return // they are in order, and what is above was zeros when it was last in reach
		}
		dirty := l.base[begin:end]
		n := copy(dirty, view[min(begin, uint64(len(view))):])
		clear(dirty[n:])
	}
}

// wrote tells that the host has written to the memory outside a call.
func (l *linear) wrote(at, size uint64) {
	if !l.listed {
		return
	}
	for _, r := range l.private {
		begin := uint64(r.first) * uint64(osPage)
		if at >= begin && at+size <= begin+uint64(r.pages)*uint64(osPage) {
			return
		}
	}
	l.listed = false
}

// wipe throws the private pages away: the kernel shows the image again, and zeros beyond it.
func (l *linear) wipe() error {
	if l.top > 0 {
		if err := unix.Madvise(l.base[:l.top], unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("give memory back: %w", err)
		}
	}
	l.top, l.kept, l.resets = l.high, 0, 0
	l.private, l.listed = l.private[:0], true
	return nil
}

// settle is called when the memory was reset and has the size that the next request begins with: beyond it are zeros.
func (l *linear) settle() { l.high, l.denied = l.size, 0 }
