package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// backlog is how many connections may wait to be accepted, as far as the host lets it.
const backlog = 1024

// Space is a network namespace. It is kept alive until Close.
type Space struct{ file *os.File }

// Open opens the namespace that a path names.
func Open(path string) (*Space, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	kind := 0
	err = control(file, func(fd int) (err error) {
		kind, err = unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
		return err
	})
	if err != nil || kind != unix.CLONE_NEWNET {
		return nil, errors.Join(fmt.Errorf("open network namespace: %s is none", path), file.Close())
	}
	return &Space{file: file}, nil
}

// control calls f with a descriptor that is not closed meanwhile.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	callErr := error(nil)
	if err := raw.Control(func(fd uintptr) { callErr = f(int(fd)) }); err != nil {
		return err
	}
	return callErr
}

// Close lets go of it.
func (s *Space) Close() error { return s.file.Close() }

// Do calls f on a thread inside. What f starts on other threads is not inside.
func (s *Space) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		outside, err := os.Open("/proc/thread-self/ns/net")
		if err == nil {
			defer outside.Close()
			err = enter(s.file)
		}
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = f()
		if enter(outside) == nil {
			runtime.UnlockOSThread() // else the thread ends with the goroutine
		}
		done <- err
	}()
	return <-done
}

func enter(file *os.File) error {
	return control(file, func(fd int) error { return unix.Setns(fd, unix.CLONE_NEWNET) })
}

// Socket makes a socket inside that does not block.
func (s *Space) Socket(family, kind int) (file *os.File, err error) {
	err = s.Do(func() error {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err == nil {
			file = os.NewFile(uintptr(fd), "socket")
		}
		return os.NewSyscallError("socket", err)
	})
	return file, err
}

// Listen listens at a port of all addresses inside, the loopback ones among them, as a program there would.
func (s *Space) Listen(port uint16) (*os.File, error) {
	file, err := s.listen(unix.AF_INET6, &unix.SockaddrInet6{Port: int(port)})
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) { // there is no IPv6
		file, err = s.listen(unix.AF_INET, &unix.SockaddrInet4{Port: int(port)})
	}
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("listen at port %d: another program of the pod listens there: %w", port, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen at port %d: %w", port, err)
	}
	return file, nil
}

func (s *Space) listen(family int, at unix.Sockaddr) (*os.File, error) {
	file, err := s.Socket(family, unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	if err := control(file, func(fd int) error { return bindAndListen(fd, family, at) }); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func bindAndListen(fd, family int, at unix.Sockaddr) error {
	// A container that comes again must not wait for connections of its last life.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, at); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return os.NewSyscallError("listen", unix.Listen(fd, backlog))
}

// Dial connects to a port of the loopback address inside.
func (s *Space) Dial(ctx context.Context, port uint16) (conn net.Conn, err error) {
	err = s.Do(func() (err error) {
		// An address needs no look-up and no second try, so that all is done on this thread.
		dialer := net.Dialer{FallbackDelay: -1}
		conn, err = dialer.DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		return err
	})
	return conn, err
}

// Address is one that others reach the namespace at, of IPv4 where there is one; not valid where there is none.
func (s *Space) Address() (found netip.Addr, err error) {
	err = s.Do(func() error {
		all, err := net.InterfaceAddrs()
		if err != nil {
			return fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range all {
			prefix, err := netip.ParsePrefix(a.String())
			if err != nil {
				continue
			}
			addr := prefix.Addr().Unmap()
			if addr.IsGlobalUnicast() && (!found.IsValid() || addr.Is4() && !found.Is4()) {
				found = addr
			}
		}
		return nil
	})
	return found, err
}
