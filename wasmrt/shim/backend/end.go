package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// End ends the runtime when it has no sandboxes, whoever started it, and says whether it has.
func (b *Backend) End(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", b.cfg.Socket)
	if err != nil {
		return true, nil // before
	}
	pidfd, err := peer(conn)
	if err = errors.Join(err, conn.Close()); err != nil { // closed now: a server waits for what its connections say
		return false, fmt.Errorf("find the runtime's process: %w", err)
	}
	defer unix.Close(pidfd)
	pods, err := b.ListPodSandbox(ctx, &runtimev1.ListPodSandboxRequest{})
	if err != nil {
		return false, fmt.Errorf("list sandboxes: %w", err)
	}
	if len(pods.GetItems()) > 0 {
		return false, nil
	}
	return true, terminate(ctx, pidfd)
}

// terminate asks a process to end, and waits until it has.
func terminate(ctx context.Context, pidfd int) error {
	if err := unix.PidfdSendSignal(pidfd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the runtime: %w", err)
	}
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(pollTime/time.Millisecond))
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for the runtime's end: %w", err)
		case ctx.Err() != nil:
			return fmt.Errorf("wait for the runtime's end: %w", ctx.Err())
		}
	}
}

// peer answers a descriptor of the process behind a connection: its number alone may be another's by now.
func peer(conn net.Conn) (int, error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	fd := -1
	cerr := raw.Control(func(s uintptr) {
		fd, err = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		if err == nil {
			return
		}
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(s), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			fd, err = unix.PidfdOpen(int(cred.Pid), 0) // before Linux 6.5
		}
	})
	if err := errors.Join(cerr, err); err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	return fd, nil
}
