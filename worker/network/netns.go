package network

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netlinkTimeout bounds the wait for one answer of the kernel, which is otherwise as long as it takes.
const netlinkTimeout = 10 * time.Second

// space is a network namespace to work in.
type space struct {
	*netlink.Handle
	ns netns.NsHandle // -1: the process's own
}

// openSpace opens the namespace at path; the process's own when path is empty.
func openSpace(path string) (*space, error) {
	s := &space{ns: -1}
	var err error
	if path != "" {
		if s.ns, err = netns.GetFromPath(path); err != nil {
			return nil, fmt.Errorf("open network namespace %s: %w", path, err)
		}
		s.Handle, err = netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE)
	} else {
		s.Handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	if err == nil {
		err = s.SetSocketTimeout(netlinkTimeout)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return s, nil
}

func (s *space) close() {
	if s.Handle != nil {
		s.Handle.Close()
	}
	if s.ns >= 0 {
		s.ns.Close()
	}
}

// handle is what netlink's subscriptions want: nil for the process's own namespace.
func (s *space) handle() *netns.NsHandle {
	if s.ns < 0 {
		return nil
	}
	return &s.ns
}

// run calls f within the namespace. Sysctls are those of whoever opens their file.
func (s *space) run(f func() error) error {
	if s.ns < 0 {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, in whatever namespace it is
		if err := unix.Setns(int(s.ns), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// isGone tells whether what was to be removed was not there.
func isGone(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) ||
		errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, os.ErrNotExist)
}
