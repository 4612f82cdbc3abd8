package wasi

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is a descriptor of the host that never blocks, and what the waiter notes of it.
type socket struct {
	fd     int
	waiter *waiter

	round      uint64
	wants      uint32 // epoll events of the round
	ready      uint32
	registered uint32
}

// duplicate takes a descriptor of its own from a connection or listener of package net.
func duplicate(of any) (int, error) {
	sc, ok := of.(syscall.Conn)
	if !ok {
		return -1, errors.New("it has no descriptor")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	err = raw.Control(func(orig uintptr) { fd, dupErr = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, dupErr); err != nil {
		return -1, err
	}
	return fd, nil
}

func (k *socket) close() {
	k.waiter.remove(k)
	_ = unix.Close(k.fd)
}

// await waits until the socket is ready for the events, or has failed.
func (k *socket) await(c call, events uint32) Errno {
	w := k.waiter
	w.begin()
	w.want(k, events)
	if err := w.apply(); err != nil {
		return errnoOf(err)
	}
	c.h.Block(func(ctx context.Context) {
		for k.ready == 0 && ctx.Err() == nil {
			w.sleep(ctx, forever)
		}
	})
	if c.ended() {
		return ErrnoIntr
	}
	return 0
}

// retry runs an operation of a socket until it neither is interrupted nor has to wait.
func (k *socket) retry(c call, events uint32, wait bool, do func() (int, error)) (int, Errno) {
	for {
		n, err := do()
		switch {
		case err == nil:
			return n, 0
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN):
			return 0, errnoOf(err)
		case !wait:
			return 0, ErrnoAgain
		}
		if errno := k.await(c, events); errno != 0 {
			return 0, errno
		}
	}
}

// listener is a preopened socket to accept from.
type listener struct{ socket }

func newListener(l net.Listener, w *waiter) (*listener, error) {
	fd, err := duplicate(l)
	if err != nil {
		return nil, err
	}
	return &listener{socket{fd: fd, waiter: w}}, nil
}

func (l *listener) clone(w *waiter) (*listener, error) {
	fd, err := unix.FcntlInt(uintptr(l.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &listener{socket{fd: fd, waiter: w}}, nil
}

func (*listener) fileType() fileType      { return typeStream }
func (*listener) stat() (filestat, Errno) { return filestat{kind: typeStream, nlink: 1}, 0 }

func (l *listener) accept(c call, wait bool) (*conn, Errno) {
	fd, errno := l.retry(c, unix.EPOLLIN, wait, func() (int, error) {
		fd, _, err := unix.Accept4(l.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.ECONNABORTED) {
			err = unix.EINTR // it was gone before it was here: the next
		}
		return fd, err
	})
	if errno != 0 {
		return nil, errno
	}
	// As package net does; a unix socket has no such option, and needs none.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return &conn{socket: socket{fd: fd, waiter: l.waiter}, kind: typeStream}, 0
}
