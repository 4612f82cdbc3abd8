package cri

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Stream is where a runtime serves the streams of one exec, attach or port-forward. The URL is good for one connection.
type Stream struct {
	URL string
	// Dial connects to the URL's host as the runtime knows it: most listen on the loopback of their own network
	// namespace.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Exec prepares the streams of a further command in a running container.
func (c *Client) Exec(ctx context.Context, r *runtimev1.ExecRequest) (Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.Exec(ctx, r)
	return c.stream("exec in container", answer.GetUrl(), err)
}

// Attach prepares the streams of a running container's own process.
func (c *Client) Attach(ctx context.Context, r *runtimev1.AttachRequest) (Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.Attach(ctx, r)
	return c.stream("attach to container", answer.GetUrl(), err)
}

// PortForward prepares connections to a sandbox's ports.
func (c *Client) PortForward(ctx context.Context, r *runtimev1.PortForwardRequest) (Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.PortForward(ctx, r)
	return c.stream("forward ports of sandbox", answer.GetUrl(), err)
}

func (c *Client) stream(verb, url string, err error) (Stream, error) {
	if err != nil {
		return Stream{}, wrap(verb, err)
	}
	return Stream{URL: url, Dial: c.dialBeside}, nil
}

// streamDialTimeout bounds connecting to a runtime's stream server, which is on the same machine.
const streamDialTimeout = 5 * time.Second

// dialBeside connects from within the network namespace of the runtime's process.
func (c *Client) dialBeside(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, streamDialTimeout)
	defer cancel()
	space, err := c.otherNamespace(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the runtime's network namespace: %w", err)
	}
	if space == nil {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	defer space.Close()
	var conn net.Conn
	err = within(space, func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// otherNamespace is the network namespace of the runtime's process; nil when it is this one, or cannot be seen.
func (c *Client) otherNamespace(ctx context.Context) (*os.File, error) {
	pid, err := c.peer(ctx)
	if err != nil {
		return nil, err
	}
	if pid <= 0 { // it is in a PID namespace that is not below this one
		return nil, nil
	}
	if int(pid) == os.Getpid() { // of this process the kernel shows the first thread's, which may have been left in another
		return nil, nil
	}
	theirs, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if errors.Is(err, os.ErrPermission) { // whoever may not look may not enter either
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	same, err := isOwn(theirs)
	if err != nil || same {
		_ = theirs.Close()
		return nil, err
	}
	return theirs, nil
}

func isOwn(namespace *os.File) (bool, error) {
	theirs, err := namespace.Stat()
	if err != nil {
		return false, err
	}
	ours, err := os.Stat("/proc/thread-self/ns/net") // not self's: the first thread may have been left in another namespace
	return err == nil && os.SameFile(theirs, ours), err
}

// peer is the process that listens on the runtime's socket.
func (c *Client) peer(ctx context.Context) (int32, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) { cred, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if asked != nil {
		return 0, fmt.Errorf("ask for the socket's owner: %w", asked)
	}
	return cred.Pid, nil
}

// within calls f on a thread in the namespace. The address must be an IP address: Go connects to one from the calling
// thread, and looks names up on others.
func within(namespace *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}
