package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// network is a network namespace without a name, there while the descriptor is open or a process is in it.
type network struct{ fd int }

// newNetwork makes one. prepare runs in it.
func newNetwork(prepare func() error) (*network, error) {
	ns := &network{fd: -1}
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return unsupported(fmt.Errorf("make network namespace: %w", err))
		}
		if err := prepare(); err != nil {
			return err
		}
		var err error
		ns.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ns, nil
}

// path is where other processes find the namespace while this one lives.
func (n *network) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.fd) }

func (n *network) close() error { return unix.Close(n.fd) }

// StartIn starts a command in the network namespace at a path: in that alone, all else is this process's.
func StartIn(path string, cmd *exec.Cmd) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(ErrGone, fmt.Errorf("open network namespace: %w", err))
	}
	defer unix.Close(fd)
	return onOwnThread(func() error {
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return cmd.Start()
	})
}

// dialLimit bounds a connection to a machine: the way is short.
const dialLimit = 5 * time.Second

// Dial connects to a TCP address as a process of the machine would.
func (p *Place) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	fd, err := p.hold()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	socket, err := socketIn(fd, to)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(socket), to.String())
	defer file.Close() // FileConn has a copy
	if err := connect(ctx, socket, to); err != nil {
		return nil, err
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("take connection: %w", err)
	}
	return conn, nil
}

// socketIn makes a socket in the network of the process behind fd: a socket stays where it was made.
func socketIn(fd int, to netip.AddrPort) (socket int, err error) {
	family := unix.AF_INET6
	if to.Addr().Is4() {
		family = unix.AF_INET
	}
	err = onOwnThread(func() error {
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		socket, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	return socket, err
}

// connect connects a socket that does not block, and waits for the outcome.
func connect(ctx context.Context, socket int, to netip.AddrPort) error {
	var at unix.Sockaddr = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if to.Addr().Is4() {
		at = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	err := unix.Connect(socket, at)
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connect to %s: %w", to, err)
	}
	const step = 100 // milliseconds between two looks at the context
	for err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("connect to %s: %w", to, context.Cause(ctx))
		}
		n, polled := unix.Poll([]unix.PollFd{{Fd: int32(socket), Events: unix.POLLOUT}}, step)
		if polled != nil && !errors.Is(polled, unix.EINTR) {
			return fmt.Errorf("connect to %s: %w", to, polled)
		}
		if n == 1 {
			break
		}
	}
	code, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err != nil {
		return fmt.Errorf("connect to %s: %w", to, err)
	}
	return nil
}
