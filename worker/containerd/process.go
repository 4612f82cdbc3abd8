package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is a containerd that we started.
type child struct {
	process *os.Process
	ended   chan struct{} // closed when it is reaped; err is set then
	err     error
}

// serve starts the daemon and waits for its end, or for ctx's, at which it is left alone.
func (d *Daemon) serve(ctx context.Context) error {
	c, err := d.start()
	if err != nil {
		return err
	}
	d.cfg.Logger.Info("started containerd", "version", d.cfg.Program.Version, "pid", c.process.Pid, "log", d.Log())
	select {
	case <-c.ended:
		return fmt.Errorf("containerd: %w (see %s)", c.end(), d.Log())
	case <-ctx.Done():
		return nil
	}
}

func (c *child) end() error {
	if c.err == nil {
		return errors.New("exited with 0")
	}
	return c.err
}

func (d *Daemon) start() (*child, error) {
	if info, err := os.Stat(d.Log()); err == nil && info.Size() > maxLog {
		if err := os.Rename(d.Log(), d.Log()+".1"); err != nil {
			return nil, fmt.Errorf("put containerd log aside: %w", err)
		}
	}
	if err := d.cfg.noteSpaces(); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(d.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, filePerm)
	if err != nil {
		return nil, fmt.Errorf("open containerd log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(d.cfg.Program.Path, "--config", d.cfg.configFile())
	cmd.Stdout, cmd.Stderr = log, log
	// The shims that belong to a program lie beside it, and those on PATH may be another version's.
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(d.cfg.Program.Path)+string(os.PathListSeparator)+os.Getenv("PATH"))
	// A session of its own: the terminal's Ctrl-C is for whoever started us, and ends its parts in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if d.cfg.Tied {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	c := &child{ended: make(chan struct{})}
	if err := startIn(d.cfg.Netns, cmd, c.ended); err != nil {
		return nil, fmt.Errorf("start containerd: %w", err)
	}
	c.process = cmd.Process
	d.mu.Lock()
	d.child = c
	d.mu.Unlock()
	go func() { // ends with the process, which Stop ends
		c.err = cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// startIn starts a command in a network namespace, or in our own when the path is empty. The thread that it is started on
// lives until it has ended: to the kernel that is the parent with which a command that is tied dies.
func startIn(netns string, cmd *exec.Cmd, ended <-chan struct{}) error {
	if netns == "" && cmd.SysProcAttr.Pdeathsig == 0 {
		return cmd.Start()
	}
	done := make(chan error, 1)
	go func() { // ends with the command
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := enter(netns)
		if err == nil {
			err = cmd.Start()
		}
		done <- err
		if err == nil && cmd.SysProcAttr.Pdeathsig != 0 {
			<-ended
		}
	}()
	return <-done
}

// enter moves the calling thread into a network namespace; nowhere when the path is empty.
func enter(netns string) error {
	if netns == "" {
		return nil
	}
	ns, err := os.Open(netns)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}

// Stop ends the daemon that serves, or that we started and that does not serve yet. Its containers go on. It is not to
// be called while Run runs.
func (d *Daemon) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	d.mu.Lock()
	c := d.child
	d.mu.Unlock()
	if c != nil {
		if err := c.stop(ctx); err != nil {
			return err
		}
	}
	pid, err := d.PID()
	if err != nil {
		return nil // nobody serves
	}
	return endPeer(ctx, pid)
}

func (c *child) stop(ctx context.Context) error {
	if err := c.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end containerd: %w", err)
	}
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
	}
	if err := c.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill containerd: %w", err)
	}
	<-c.ended
	return nil
}

// endPeer ends a daemon that an earlier process started.
func endPeer(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end containerd (process %d): %w", pid, err)
	}
	defer unix.Close(fd)
	signal := unix.SIGTERM
	for {
		if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end containerd (process %d): %w", pid, err)
		}
		if gone(fd, ctx) {
			return nil
		}
		if signal == unix.SIGKILL {
			return fmt.Errorf("end containerd (process %d): it goes on after SIGKILL", pid)
		}
		signal = unix.SIGKILL
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
	}
}

// gone waits until the process ends or ctx does.
func gone(pidfd int, ctx context.Context) bool {
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, int(readyPoll/time.Millisecond)); n > 0 && err == nil {
			return true
		}
	}
	return false
}

// waitClosed blocks until the peer closes conn, or ctx ends. containerd never speaks first on a connection that says
// nothing; the caller looks why it was closed.
func waitClosed(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	_, _ = io.Copy(io.Discard, conn)
}

// peer asks the kernel which process listens on a unix socket.
func peer(socket string) (int, error) {
	conn, err := net.DialTimeout("unix", socket, dialTimeout)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}
