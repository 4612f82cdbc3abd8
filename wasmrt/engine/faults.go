package engine

import (
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A page of an instance's memory becomes private with the first write to it, and the kernel counts the page fault that
// this takes on the thread that writes. So a call during which a thread had none has written to no page but those that
// were private before, and a reset need not ask which they are: asking costs as much as a small guest's whole request.

// window is the time of one call in which page faults are counted. The goroutine keeps its thread meanwhile; when it has
// to wait it lets go of it, and then nothing is known.
type window struct {
	open  bool
	begun int64
}

// begin opens the window. It does nothing where faults are not counted.
func (w *window) begin() {
	if !faultsCount() {
		return
	}
	runtime.LockOSThread()
	w.open, w.begun = true, threadFaults()
}

// drop closes the window before the goroutine may have to change threads.
func (w *window) drop() {
	if w.open {
		w.open = false
		runtime.UnlockOSThread()
	}
}

// end closes the window and tells whether it is sure that there was no page fault in it.
func (w *window) end() (quiet bool) {
	if !w.open {
		return false
	}
	quiet = threadFaults() == w.begun && w.begun >= 0
	w.drop()
	return quiet
}

// threadFaults is how many page faults this thread has had; negative when the kernel does not say.
func threadFaults() int64 {
	var u unix.Rusage
	// Raw, because telling Go's scheduler costs as much as the call, which never waits.
	if _, _, errno := unix.RawSyscall(unix.SYS_GETRUSAGE, unix.RUSAGE_THREAD, uintptr(unsafe.Pointer(&u)), 0); errno != 0 {
		return -1
	}
	return u.Minflt + u.Majflt
}

// faultsCount tries whether the first write to a page is counted, and whether the second is not: kernels that are
// played by other programs may have no counts.
var faultsCount = sync.OnceValue(func() bool {
	m, err := newImage(uint64(osPage), func(b []byte) error { b[0] = 1; return nil })
	if err != nil {
		return false
	}
	defer m.close()
	b, err := mmap(m.fd, m.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		return false
	}
	defer unix.Munmap(b)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range faultTries {
		if b[0] != 1 { // reading it maps it: what is to be counted is the write to a page that is mapped already
			return false
		}
		before := threadFaults()
		b[0]++
		after := threadFaults()
		if before < 0 || after <= before {
			return false
		}
		b[0]++
		if threadFaults() == after {
			return true
		}
		// Something else faulted in between, once. Again, with the page as the image has it.
		if unix.Madvise(b, unix.MADV_DONTNEED) != nil {
			return false
		}
	}
	return false
})

// faultTries is how often a fault that was not expected may spoil the trial.
const faultTries = 5
