package containerdtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// newNetns makes a network namespace whose loopback is up, and answers its path.
func newNetns(tb testing.TB) string {
	tb.Helper()
	type made struct {
		file *os.File
		err  error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{err: err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err == nil {
			err = loopbackUp()
		}
		done <- made{f, err}
	}()
	m := <-done
	if errors.Is(m.err, unix.EPERM) {
		tb.Skipf("%s: making a network namespace: %v", tb.Name(), m.err)
	}
	if m.err != nil {
		tb.Fatal(m.err)
	}
	tb.Cleanup(func() { m.file.Close() })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), m.file.Fd())
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("name loopback: %w", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	return nil
}

// InNetns calls f on a thread in the daemon's network namespace. What f starts in other goroutines is not in it.
func (c *Containerd) InNetns(f func() error) error {
	ns, err := os.Open(c.Netns)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Dial connects to a numeric address from the daemon's network namespace; it suits http.Transport.DialContext.
func (c *Containerd) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = c.InNetns(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
