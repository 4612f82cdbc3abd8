package network

import (
	"syscall"
	"unsafe"
)

// The host's functions. They return an errno of WASI, and their results where the last parameter points.

//go:wasmimport petrel_net_v1 dial
func hostDial(network uint32, address unsafe.Pointer, size uint32, fd unsafe.Pointer) uint32

//go:wasmimport petrel_net_v1 dial_status
func hostDialStatus(fd uint32) uint32

//go:wasmimport petrel_net_v1 resolve
func hostResolve(name unsafe.Pointer, size uint32, fd unsafe.Pointer) uint32

//go:wasmimport petrel_net_v1 address
func hostAddress(fd, which uint32, buf unsafe.Pointer, size uint32, written unsafe.Pointer) uint32

const (
	networkTCP = 1
	networkUDP = 2

	localAddress  = 0
	remoteAddress = 1
)

func errnoOf(n uint32) error {
	if n == 0 {
		return nil
	}
	return syscall.Errno(n)
}

// dial begins to connect.
func dial(network uint32, address string) (uint32, error) {
	var fd uint32
	err := errnoOf(hostDial(network, unsafe.Pointer(unsafe.StringData(address)), uint32(len(address)), unsafe.Pointer(&fd)))
	return fd, err
}

func resolve(name string) (uint32, error) {
	var fd uint32
	err := errnoOf(hostResolve(unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), unsafe.Pointer(&fd)))
	return fd, err
}

// address is empty when the host cannot tell.
func address(fd, which uint32) string {
	var buf [64]byte
	var n uint32
	if hostAddress(fd, which, unsafe.Pointer(&buf), uint32(len(buf)), unsafe.Pointer(&n)) != 0 {
		return ""
	}
	return string(buf[:n])
}
