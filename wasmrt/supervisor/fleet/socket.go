package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// maxAddress is how long the path of a unix socket may be: sockaddr_un has 108 bytes, one of them ends it.
const maxAddress = 107

// withAddress calls f with a path that names the same socket and fits into an address.
func withAddress(path string, f func(address string) error) error {
	if len(path) <= maxAddress {
		return f(path)
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket directory: %w", err)
	}
	defer unix.Close(dir)
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path)))
}

// Listen listens on a socket that only this user can connect to, in place of what an earlier process left there.
func Listen(path string) (*net.UnixListener, error) {
	if err := removeSocket(path); err != nil {
		return nil, err
	}
	var l *net.UnixListener
	err := withAddress(path, func(address string) error {
		var err error
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // its file belongs to whoever listens, which may be another process
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("restrict socket: %w", err), l.Close())
	}
	return l, nil
}

// removeSocket removes a socket that is there, and nothing else.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen at %s: there is a file that is no socket", path)
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return fmt.Errorf("remove old socket: %w", err)
	}
	return nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	var conn net.Conn
	err := withAddress(path, func(address string) error {
		var err error
		conn, err = new(net.Dialer).DialContext(ctx, "unix", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to runner: %w", err)
	}
	return conn, nil
}

// TakeOver makes the listener that was handed down this process's own, so that those who connect see whose it is. It
// is for the runner to call.
func TakeOver(file *os.File) (*net.UnixListener, error) {
	// The kernel notes the process that calls listen, also when it is called again.
	if err := unix.Listen(int(file.Fd()), unix.SOMAXCONN); err != nil {
		return nil, fmt.Errorf("take over listener: %w", err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("take over listener: %w", err)
	}
	ul, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("take over listener: it is of network %s", l.Addr().Network()), l.Close())
	}
	ul.SetUnlinkOnClose(false)
	return ul, nil
}

// socketOwner answers the process that listens at the socket.
func socketOwner(path string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := dial(ctx, path)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("ask for the socket's owner: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, fmt.Errorf("ask for the socket's owner: %w", err)
	}
	if credErr != nil {
		return 0, fmt.Errorf("ask for the socket's owner: %w", credErr)
	}
	return int(cred.Pid), nil
}
