package doors

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// maxKnocks is how many knocks are taken from the kernel at a time.
const maxKnocks = 128

// ErrClosed is what a keeper or a door answers that was closed.
var ErrClosed = errors.New("the door is closed")

// Keeper waits at doors. Run must be running for knocks to be told.
type Keeper struct {
	epoll *os.File // waited at through the runtime's poller: it holds no thread

	mu     sync.Mutex
	doors  map[int32]*Door
	closed bool
}

// NewKeeper returns a keeper without doors.
func NewKeeper() (*Keeper, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("wait at sockets: %w", os.NewSyscallError("epoll_create1", err))
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that the runtime polls it
		return nil, errors.Join(fmt.Errorf("wait at sockets: %w", err), unix.Close(fd))
	}
	return &Keeper{epoll: os.NewFile(uintptr(fd), "epoll"), doors: map[int32]*Door{}}, nil
}

// Run tells knocks until Close. Each is told on a goroutine of its own, so that one that takes its time holds up no other.
func (k *Keeper) Run() error {
	raw, err := k.epoll.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait at sockets: %w", err)
	}
	events := make([]unix.EpollEvent, maxKnocks)
	for {
		n, waitErr := 0, error(nil)
		err := raw.Read(func(fd uintptr) bool {
			n, waitErr = unix.EpollWait(int(fd), events, 0)
			if waitErr == unix.EINTR { //nolint:errorlint // it is the bare number
				n, waitErr = 0, nil
			}
			return n > 0 || waitErr != nil
		})
		if k.isClosed() {
			return nil
		}
		if err = errors.Join(err, waitErr); err != nil {
			return fmt.Errorf("wait at sockets: %w", err)
		}
		for _, e := range events[:n] {
			k.mu.Lock()
			d := k.doors[e.Fd]
			k.mu.Unlock()
			if d != nil {
				go d.knocked() // ends with the callback, whose owner ends what it starts
			}
		}
	}
}

// Close ends Run. Doors are closed by their owners.
func (k *Keeper) Close() error {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	if err := k.epoll.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func (k *Keeper) isClosed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closed
}

// control changes how a descriptor is waited for.
func (k *Keeper) control(op int, fd int, events uint32) error {
	raw, err := k.epoll.SyscallConn()
	if err != nil {
		return ErrClosed
	}
	var opErr error
	err = raw.Control(func(epoll uintptr) {
		opErr = unix.EpollCtl(int(epoll), op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	})
	if err != nil {
		return ErrClosed
	}
	return os.NewSyscallError("epoll_ctl", opErr)
}
