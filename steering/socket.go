package steering

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	network = "unixpacket"
	// maxAddress is how long the path of a unix socket may be: sockaddr_un has 108 bytes, one of them ends it.
	maxAddress = 107
)

// withAddress calls f with a path that names the same socket and fits into an address.
func withAddress(path string, f func(*net.UnixAddr) error) error {
	if len(path) <= maxAddress {
		return f(&net.UnixAddr{Name: path, Net: network})
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket directory: %w", err)
	}
	defer unix.Close(dir)
	return f(&net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path)), Net: network})
}

// listen listens at the path in place of what an earlier process left there.
func listen(path string) (l *net.UnixListener, err error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("look at socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("listen at %s: there is a file that is no socket", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove old socket: %w", err)
		}
	}
	err = withAddress(path, func(at *net.UnixAddr) (err error) {
		l, err = net.ListenUnix(network, at)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // the address may be one that is good for this process alone
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("restrict socket: %w", err), l.Close())
	}
	return l, nil
}

// checkPeer lets in root and this process' own user.
func checkPeer(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("check peer: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, credErr); err != nil {
		return fmt.Errorf("check peer: %w", err)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("check peer: user %d may not say who listens", cred.Uid)
	}
	return nil
}

// receive reads a packet and the descriptor that came with it; -1 when none did. More than one is too many.
func receive(c *net.UnixConn, buf []byte) (raw []byte, fd int, err error) {
	oob := make([]byte, unix.CmsgSpace(2*4)) // a second one is seen, and refused
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, -1, err
	}
	fds, err := descriptors(oob[:oobn])
	fd = -1
	for i, got := range fds {
		if i == 0 && err == nil && len(fds) == 1 {
			fd = got
			continue
		}
		_ = unix.Close(got)
		err = errors.Join(err, errors.New("read packet: more than one descriptor"))
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.Join(err, errors.New("read packet: it is too large"))
	}
	if err != nil && fd >= 0 {
		_ = unix.Close(fd)
		fd = -1
	}
	return buf[:n], fd, err
}

func descriptors(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read packet: %w", err)
	}
	var all []int
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // it carries none
		}
		all = append(all, fds...)
	}
	return all, nil
}
