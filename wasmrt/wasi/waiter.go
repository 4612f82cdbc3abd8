package wasi

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// forever is a wait that only something else than time ends.
const forever = time.Duration(-1)

// epollEvents bounds what is asked of the kernel at once. It begins with others the next time.
const epollEvents = 64

// waiter lets a guest wait for sockets, streams and time at once, without a goroutine or a thread for each: its sockets
// are in an epoll descriptor, and Go's own poller waits for that.
type waiter struct {
	epoll *os.File // made with the first wait for a socket
	raw   interface {
		Read(func(fd uintptr) bool) error
	}
	epollFd int
	events  []unix.EpollEvent

	round      uint64
	wanted     []*socket // of the present round
	registered map[int32]*socket

	mu       sync.Mutex
	woken    bool
	sleeping bool          // in Go's poller, for the epoll descriptor
	bell     chan struct{} // for those who sleep without sockets
}

// wake ends the present sleep, or the next. Any goroutine may call it.
func (w *waiter) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.woken = true
	if w.sleeping {
		_ = w.epoll.SetReadDeadline(time.Unix(1, 0)) // long ago
	}
	if w.bell != nil {
		select {
		case w.bell <- struct{}{}:
		default:
		}
	}
}

// begin starts a round: only the sockets that want gets until sleep or look are waited for.
func (w *waiter) begin() {
	w.round++
	w.wanted = w.wanted[:0]
	w.mu.Lock()
	w.woken = false
	w.mu.Unlock()
}

// want adds a socket to the round.
func (w *waiter) want(k *socket, events uint32) {
	if k.round != w.round {
		k.round, k.wants, k.ready = w.round, 0, 0
		w.wanted = append(w.wanted, k)
	}
	k.wants |= events
}

// apply tells the kernel what has changed since the last round.
func (w *waiter) apply() error {
	if len(w.wanted) > 0 && w.epoll == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	for _, k := range w.registered {
		if k.round != w.round {
			w.remove(k)
		}
	}
	for _, k := range w.wanted {
		if k.registered == k.wants {
			continue
		}
		op := unix.EPOLL_CTL_MOD
		if k.registered == 0 {
			op = unix.EPOLL_CTL_ADD
		}
		if err := unix.EpollCtl(w.epollFd, op, k.fd, &unix.EpollEvent{Events: k.wants, Fd: int32(k.fd)}); err != nil {
			return err
		}
		k.registered = k.wants
		w.registered[int32(k.fd)] = k
	}
	return nil
}

func (w *waiter) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that package os gives it to the poller
		return errors.Join(err, unix.Close(fd))
	}
	f := os.NewFile(uintptr(fd), "epoll")
	raw, err := f.SyscallConn()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	w.epoll, w.raw, w.epollFd = f, raw, fd
	w.registered, w.events = map[int32]*socket{}, make([]unix.EpollEvent, epollEvents)
	return nil
}

// remove takes a socket out: before it is closed, because its descriptor may be a duplicate and the kernel goes by what
// is behind it.
func (w *waiter) remove(k *socket) {
	if k.registered == 0 {
		return
	}
	_ = unix.EpollCtl(w.epollFd, unix.EPOLL_CTL_DEL, k.fd, nil)
	k.registered = 0
	delete(w.registered, int32(k.fd))
}

// look notes which sockets of the round are ready, and tells whether any is.
func (w *waiter) look() bool {
	n, err := unix.EpollWait(w.epollFd, w.events, 0)
	if err != nil {
		return false // EINTR: the next look tells
	}
	for _, e := range w.events[:n] {
		if k := w.registered[e.Fd]; k != nil {
			k.ready |= e.Events
		}
	}
	return n > 0
}

// sleep returns when a socket of the round is ready, after the time, after wake, and when the context ends; and
// sometimes for nothing.
func (w *waiter) sleep(ctx context.Context, d time.Duration) {
	if len(w.wanted) == 0 {
		w.sleepWithout(ctx, d)
		return
	}
	deadline := time.Time{}
	if d >= 0 {
		deadline = time.Now().Add(d)
	}
	w.mu.Lock()
	if w.woken {
		w.woken = false
		w.mu.Unlock()
		return
	}
	_ = w.epoll.SetReadDeadline(deadline)
	w.sleeping = true
	w.mu.Unlock()

	stop := context.AfterFunc(ctx, w.wake)
	_ = w.raw.Read(func(uintptr) bool { return w.look() }) // an error is the deadline
	stop()

	w.mu.Lock()
	w.sleeping, w.woken = false, false
	w.mu.Unlock()
}

// sleepWithout is sleep when there are no sockets to wait for.
func (w *waiter) sleepWithout(ctx context.Context, d time.Duration) {
	w.mu.Lock()
	if w.bell == nil {
		w.bell = make(chan struct{}, 1)
	}
	woken := w.woken
	w.woken = false
	w.mu.Unlock()
	if woken {
		return
	}
	var after <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-after:
	case <-w.bell:
	case <-ctx.Done():
	}
}

func (w *waiter) close() error {
	if w.epoll == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.epoll
	w.epoll, w.sleeping = nil, false
	return f.Close()
}
