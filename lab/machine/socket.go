package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What the init and whoever started it say to each other, in packets of one byte. The init says ready once. Then it is
// asked for TCP sockets, and answers with one, or with the number of an error: a socket belongs to the network and to the
// control group of the process that made it, whoever uses it, so what is attached to the group sees what is connected by
// it.
const (
	ready      = 'r'
	wantSocket = '4'
	wantIPv6   = '6'
	gaveSocket = 's'
)

// seqConn takes a packet socket, which the file loses.
func seqConn(file *os.File) (*net.UnixConn, error) {
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("take socket: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	packets, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("take socket: it is not one of this machine"), conn.Close())
	}
	return packets, nil
}

// giveSockets is the init's part. It returns when the other side has gone.
func giveSockets(conn *net.UnixConn) {
	want := make([]byte, 1)
	for {
		if n, err := conn.Read(want); err != nil || n == 0 {
			return
		}
		family := unix.AF_INET
		if want[0] == wantIPv6 {
			family = unix.AF_INET6
		}
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			number := unix.EIO
			_ = errors.As(err, &number)
			_, err = conn.Write([]byte{byte(number)})
		} else {
			_, _, err = conn.WriteMsgUnix([]byte{gaveSocket}, unix.UnixRights(fd), nil)
			_ = unix.Close(fd)
		}
		if err != nil {
			return
		}
	}
}

// asker asks an init for sockets, one at a time.
type asker struct {
	mu   sync.Mutex
	conn *net.UnixConn
}

// socket is a TCP socket of the machine's.
func (a *asker) socket(ip netip.Addr, deadline time.Time) (*os.File, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	want := []byte{wantSocket}
	if !ip.Is4() {
		want[0] = wantIPv6
	}
	if err := a.conn.SetDeadline(deadline); err != nil {
		return nil, errors.Join(ErrGone, err)
	}
	if _, err := a.conn.Write(want); err != nil {
		return nil, errors.Join(ErrGone, err)
	}
	answer, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := a.conn.ReadMsgUnix(answer, rights)
	if err != nil || n != 1 {
		_ = a.conn.Close() // an answer that comes late would be taken for the next one's
		return nil, errors.Join(ErrGone, err)
	}
	if answer[0] != gaveSocket {
		return nil, fmt.Errorf("make socket: %w", unix.Errno(answer[0]))
	}
	messages, err := unix.ParseSocketControlMessage(rights[:m])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("take socket: %d messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("take socket: %d descriptors: %w", len(fds), err)
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "socket"), nil
}

// dialLimit bounds a connection to a machine: the way is short.
const dialLimit = 15 * time.Second

// Dial connects to a TCP address as a process of the machine would.
func (m *Machine) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	deadline, _ := ctx.Deadline()
	file, err := m.ask.socket(to.Addr(), deadline)
	if err != nil {
		return nil, err
	}
	defer file.Close() // FileConn has a copy
	if err := connect(ctx, int(file.Fd()), to); err != nil {
		return nil, err
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("take connection: %w", err)
	}
	return conn, nil
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
