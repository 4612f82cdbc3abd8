package wasi

import (
	"syscall"
	"unsafe"
)

// recv and send are the system calls without an address: package unix' own make an allocation for it.

func recv(fd int, p []byte, flags int) (int, error) {
	return transmit(syscall.SYS_RECVFROM, fd, p, flags|syscall.MSG_DONTWAIT)
}

func send(fd int, p []byte) (int, error) {
	return transmit(syscall.SYS_SENDTO, fd, p, syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT)
}

func transmit(trap uintptr, fd int, p []byte, flags int) (int, error) {
	n, _, errno := syscall.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
