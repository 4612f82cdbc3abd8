package engine

import (
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxRegions is how many runs of pages one scan tells: what the kernel makes room for each time, in two KiB.
const maxRegions = 80

// The kernel's interface PAGEMAP_SCAN, Linux 6.7 and later.
const (
	pagemapScan   = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)
	pageIsFile    = 1 << 2
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
)

type pageRegion struct {
	start, end uint64
	_          uint64 // the categories that were asked back
}

type pagemapScanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages      uint64
	categoryInverted, categoryMask, categoryAnyOf, returnedMasks uint64
}

// scanner asks the kernel which pages of a range are private to this process.
type scanner struct {
	arg     pagemapScanArg
	regions [maxRegions]pageRegion
}

var scanners = sync.Pool{New: func() any { return new(scanner) }}

// pagemap is this process's; negative when pages cannot be scanned here.
var pagemap = sync.OnceValue(func() int {
	fd, err := unix.Open("/proc/self/pagemap", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	if !scanWorks(fd) {
		_ = unix.Close(fd)
		return -1
	}
	return fd
})

// scanWorks tries the scan on a page that is written to and one that is not: a kernel that does not know it refuses, and
// one that answers otherwise must not be believed.
func scanWorks(fd int) bool {
	page := uint64(osPage)
	m, err := newImage(2*page, func(b []byte) error { b[0], b[page] = 1, 1; return nil })
	if err != nil {
		return false
	}
	defer m.close()
	b, err := mmap(m.fd, m.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		return false
	}
	defer unix.Munmap(b)
	b[page] = b[0] + 1
	s := scanners.Get().(*scanner)
	defer scanners.Put(s)
	found, next, ok := s.scan(fd, b, 0)
	start := uint64(uintptr(unsafe.Pointer(&b[0])))
	return ok && next == 2*page && len(found) == 1 && found[0].start == start+page && found[0].end == start+2*page
}

// scan finds the runs of pages that are not the file's any more, or of anonymous memory that was touched: those in memory
// and those swapped out. It begins at an offset of b and returns the one to go on from, which is the length at the end.
// The kernel may refuse.
func (s *scanner) scan(fd int, b []byte, from uint64) (found []pageRegion, next uint64, ok bool) {
	start := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	s.arg = pagemapScanArg{
		size:  uint64(unsafe.Sizeof(s.arg)),
		start: start + from, end: start + uint64(len(b)),
		vec: uint64(uintptr(unsafe.Pointer(&s.regions))), vecLen: maxRegions,
		categoryInverted: pageIsFile, categoryMask: pageIsFile,
		categoryAnyOf: pageIsPresent | pageIsSwapped, returnedMasks: pageIsPresent,
	}
	// Raw, because telling Go's scheduler costs a tenth of the call, which never waits.
	n, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), pagemapScan, uintptr(unsafe.Pointer(&s.arg)))
	runtime.KeepAlive(s)
	next = s.arg.walkEnd - start
	if errno != 0 || n > maxRegions || next <= from || next > uint64(len(b)) {
		return nil, from, false
	}
	return s.regions[:n], next, true
}
