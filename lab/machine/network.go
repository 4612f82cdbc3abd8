package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// network is a network namespace without a name, there while the descriptor is open or a process is in it.
type network struct{ fd int }

// newNetwork makes one. prepare runs in it.
func newNetwork(prepare func() error) (*network, error) {
	ns := &network{fd: -1}
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return unsupported(fmt.Errorf("make network namespace: %w", err))
		}
		if err := prepare(); err != nil {
			return err
		}
		var err error
		ns.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ns, nil
}

// path is where other processes find the namespace while this one lives.
func (n *network) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.fd) }

func (n *network) close() error { return unix.Close(n.fd) }

// StartIn starts a command in the network namespace at a path: in that alone, all else is this process's.
func StartIn(path string, cmd *exec.Cmd) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(ErrGone, fmt.Errorf("open network namespace: %w", err))
	}
	defer unix.Close(fd)
	return onOwnThread(func() error {
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return cmd.Start()
	})
}
