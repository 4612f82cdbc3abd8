package netns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Families and kinds of sockets that a source gives.
var (
	families = []int{unix.AF_INET, unix.AF_INET6}
	kinds    = []int{unix.SOCK_STREAM, unix.SOCK_DGRAM}
)

// requestSize is that of a request for a socket: its family and its kind, a byte each. The answer is an errno in a byte, 0
// with the socket.
const requestSize = 2

// Pair makes the two ends of a source: one to serve, one to hand over.
func Pair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make source of sockets: %w", os.NewSyscallError("socketpair", err))
	}
	theirs = os.NewFile(uintptr(fds[1]), "source")
	file := os.NewFile(uintptr(fds[0]), "source")
	defer file.Close() // the connection has one of its own
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("make source of sockets: %w", err), theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}

// Serve answers requests for sockets until the client has gone or the connection is closed.
func (s *Space) Serve(conn *net.UnixConn) error {
	defer conn.Close()
	buf := make([]byte, requestSize+1)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) || err == nil && n == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve sockets: %w", err)
		}
		if n != requestSize {
			return fmt.Errorf("serve sockets: a request of %d bytes", n)
		}
		if err := s.answer(conn, int(buf[0]), int(buf[1])); err != nil {
			return nil // the client has gone
		}
	}
}

func (s *Space) answer(conn *net.UnixConn, family, kind int) error {
	if !slices.Contains(families, family) || !slices.Contains(kinds, kind) {
		_, err := conn.Write([]byte{byte(unix.EPERM)})
		return err
	}
	file, err := s.Socket(family, kind)
	if err != nil {
		errno := unix.EIO
		_ = errors.As(err, &errno)
		_, err := conn.Write([]byte{byte(errno)})
		return err
	}
	defer file.Close()
	return control(file, func(fd int) error {
		_, _, err := conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fd), nil)
		return err
	})
}
