package front

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// socket is what all connections of a family come by.
type socket struct{ *net.TCPListener }

// listen makes a socket by hand: Go's own would be one of several paths, which the kernel's tables of sockets do not take.
func listen(network string) (*net.TCPListener, error) {
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if network == "tcp6" {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "front")
	defer file.Close() // the listener gets one of its own
	if err := unix.Bind(fd, sa); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a listener of network %s", l.Addr().Network()), l.Close())
	}
	return tcp, nil
}

func (s *socket) control(f func(fd int) error) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	callErr := error(nil)
	if err := raw.Control(func(fd uintptr) { callErr = f(int(fd)) }); err != nil {
		return err
	}
	return callErr
}

func (s *socket) isClosed() bool {
	return s.control(func(int) error { return nil }) != nil
}

// accept hands connections on until the socket is closed.
func (f *Front) accept(s *socket) {
	for {
		nc, err := s.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			f.log.Warn("accept failed", "error", err)
			time.Sleep(acceptPause)
			continue
		}
		if f.probes.admit(nc) {
			continue
		}
		to := f.serverOf(nc.LocalAddr().(*net.TCPAddr).AddrPort())
		if to == nil || !to.Admit(nc) {
			hangUp(nc) // as if nobody had listened
		}
	}
}
