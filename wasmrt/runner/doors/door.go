package doors

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// backlog is how many connections wait in the kernel for one door to be opened, as far as the host lets it
// (net.core.somaxconn). It takes no memory before they come.
const backlog = 1024

// once makes the kernel tell a knock one time, and then be silent until it is asked again.
const once = unix.EPOLLIN | unix.EPOLLONESHOT

// Door is a listening socket.
type Door struct {
	keeper *Keeper
	knock  func()
	addr   netip.AddrPort

	mu       sync.Mutex
	fd       int          // -1 when it is open or closed
	listener net.Listener // nil unless it is open
}

// Listen makes a door at the address, which nobody waits at yet. Knock is called for each knock; it may call the door.
func (k *Keeper) Listen(addr netip.AddrPort, knock func()) (*Door, error) {
	fd, err := listen(addr)
	if err != nil {
		return nil, err
	}
	return k.take(fd, addr, knock)
}

// Adopt is Listen with a socket that listens already, and does not block. The file stays the caller's.
func (k *Keeper) Adopt(listener *os.File, addr netip.AddrPort, knock func()) (*Door, error) {
	raw, err := listener.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("adopt listener: %w", err)
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(of uintptr) { fd, dupErr = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, fmt.Errorf("adopt listener: %w", err)
	}
	if dupErr != nil {
		return nil, fmt.Errorf("adopt listener: %w", os.NewSyscallError("fcntl", dupErr))
	}
	return k.take(fd, addr, knock)
}

// take makes a door of a descriptor, which it closes when it cannot.
func (k *Keeper) take(fd int, addr netip.AddrPort, knock func()) (*Door, error) {
	d := &Door{keeper: k, knock: knock, addr: addr, fd: -1}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.enter(fd); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return d, nil
}

func listen(addr netip.AddrPort) (int, error) {
	family, sa := unix.AF_INET, unix.Sockaddr(nil)
	if ip := addr.Addr().Unmap(); ip.Is4() {
		sa = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()}
	} else {
		family = unix.AF_INET6
		sa = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: ip.As16(), ZoneId: zone(ip.Zone())}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	steps := []struct {
		name string
		do   func() error
	}{
		// A pod that comes again at its address must not wait for connections of its last life.
		{"setsockopt", func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }},
		{"setsockopt", func() error {
			if family == unix.AF_INET6 {
				return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
			}
			return nil
		}},
		{"bind", func() error { return unix.Bind(fd, sa) }},
		{"listen", func() error { return unix.Listen(fd, backlog) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return -1, errors.Join(os.NewSyscallError(s.name, err), unix.Close(fd))
		}
	}
	return fd, nil
}

// zone answers an interface's number from an address's zone.
func zone(name string) uint32 {
	n, err := strconv.ParseUint(name, 10, 32)
	if err != nil { // names need netlink, which nothing here may use
		return 0
	}
	return uint32(n)
}

// Addr is where the door is.
func (d *Door) Addr() netip.AddrPort { return d.addr }

// Watch asks to be told when a connection waits, one time. One that waits already is told, too. The door must not be open.
func (d *Door) Watch() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return ErrClosed
	}
	return d.keeper.control(unix.EPOLL_CTL_MOD, d.fd, once)
}

// Open answers a listener that accepts the door's connections, until Shut. It takes the socket's place, so that an open
// door costs no second descriptor.
func (d *Door) Open() (net.Listener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != nil || d.fd < 0 {
		return nil, ErrClosed
	}
	dup, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open door: %w", os.NewSyscallError("fcntl", err))
	}
	file := os.NewFile(uintptr(dup), "door")
	l, err := net.FileListener(file) // it makes a copy for itself
	_ = file.Close()
	if err != nil {
		return nil, fmt.Errorf("open door: %w", err)
	}
	d.listener = l
	return l, d.leave()
}

// IsOpen says whether a listener accepts at the door.
func (d *Door) IsOpen() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.listener != nil
}

// Shut ends the listener that Open made. Connections that come from now on wait. When there is no descriptor to be had for
// that, the door stays open and an error says so.
func (d *Door) Shut() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener == nil {
		return nil
	}
	raw, err := d.listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		return fmt.Errorf("shut door: %w", err)
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(of uintptr) { fd, dupErr = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return fmt.Errorf("shut door: %w", err)
	}
	if dupErr != nil {
		return fmt.Errorf("shut door: %w", os.NewSyscallError("fcntl", dupErr))
	}
	if err := d.enter(fd); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	err = d.listener.Close()
	d.listener = nil
	return err
}

// Close closes the socket, once, with the listener if there is one. Connections that wait are refused. A knock that is
// being told may still arrive.
func (d *Door) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	if d.listener != nil {
		if err := d.listener.Close(); !errors.Is(err, net.ErrClosed) { // the server that accepted may have closed it
			errs = append(errs, err)
		}
		d.listener = nil
	}
	if d.fd >= 0 {
		errs = append(errs, d.leave())
	}
	return errors.Join(errs...)
}

// enter makes the descriptor one of those that the keeper waits at, silently for now. The mutex is held.
func (d *Door) enter(fd int) error {
	k := d.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ErrClosed
	}
	if err := k.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLONESHOT); err != nil {
		return err
	}
	k.doors[int32(fd)] = d
	d.fd = fd
	return nil
}

// leave takes the descriptor away from the keeper and closes it. Its number may be another's at once, so the table changes
// before; and the socket may live on in a listener, so the kernel is told before, too. The mutex is held.
func (d *Door) leave() error {
	k := d.keeper
	k.mu.Lock()
	delete(k.doors, int32(d.fd))
	k.mu.Unlock()
	_ = k.control(unix.EPOLL_CTL_DEL, d.fd, 0) // the keeper may be closed
	err := unix.Close(d.fd)
	d.fd = -1
	return os.NewSyscallError("close", err)
}

func (d *Door) knocked() {
	d.mu.Lock()
	shut := d.fd >= 0
	d.mu.Unlock()
	if shut {
		d.knock()
	}
}
