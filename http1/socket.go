package http1

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket reads and writes a connection without telling Go's scheduler: the calls never wait, and telling it costs as much as
// a fifth of them, and more where it takes a processor away from who is in one for too long. Deadlines and Close are the
// connection's.
type Socket struct {
	nc  net.Conn
	raw syscall.RawConn // nil where the connection is none of the kernel's

	in, out       []byte
	got           int
	failed        syscall.Errno
	receive, send func(fd uintptr) bool // made once
}

// NewSocket makes a Socket of a connection. Where that is none of the kernel's, it is used as it is.
func NewSocket(nc net.Conn) *Socket {
	s := &Socket{nc: nc}
	if sc, ok := nc.(syscall.Conn); ok && direct {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw, s.receive, s.send = raw, s.receiveOnce, s.sendAll
		}
	}
	return s
}

// Read implements io.Reader. One goroutine at a time may call it.
func (s *Socket) Read(p []byte) (int, error) {
	if s.raw == nil || len(p) == 0 {
		return s.nc.Read(p)
	}
	s.in, s.got, s.failed = p, 0, 0
	err := s.raw.Read(s.receive)
	s.in = nil
	switch {
	case err != nil:
		return 0, err
	case s.failed != 0:
		return 0, os.NewSyscallError("recvfrom", s.failed)
	case s.got == 0:
		return 0, io.EOF
	}
	return s.got, nil
}

// receiveOnce says whether it need not be called again when there is something to read.
func (s *Socket) receiveOnce(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(s.in))), uintptr(len(s.in)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			s.got = int(n)
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			s.failed = errno
			return true
		}
	}
}

// Write implements io.Writer. One goroutine at a time may call it.
func (s *Socket) Write(p []byte) (int, error) {
	if s.raw == nil || len(p) == 0 {
		return s.nc.Write(p)
	}
	s.out, s.failed = p, 0
	err := s.raw.Write(s.send)
	n := len(p) - len(s.out)
	s.out = nil
	if err == nil && s.failed != 0 {
		err = os.NewSyscallError("sendto", s.failed)
	}
	return n, err
}

// sendAll says whether it need not be called again when there is room.
func (s *Socket) sendAll(fd uintptr) bool {
	for len(s.out) > 0 {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(s.out))), uintptr(len(s.out)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			s.out = s.out[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			s.failed = errno
			return true
		}
	}
	return true
}
