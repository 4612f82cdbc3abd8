package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	logFile = "runner.log"
	// maxLog is how large a runner's log may be when the next runner of the namespace starts; above it, it begins anew.
	maxLog = 1 << 20
)

// process is a runner's process: a child, or one that an earlier supervisor started.
type process struct {
	pid    int
	pidfd  int
	exited chan struct{} // closed when a child was reaped; nil for others
	state  string        // how a child ended; read after exited
}

// spawn starts the command as a runner that outlives us, with the listener's file as descriptor 3.
func spawn(cmd *exec.Cmd, dir string, listener *os.File) (*process, error) {
	path := filepath.Join(dir, logFile)
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		_ = os.Remove(path)
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open runner's log: %w", err)
	}
	defer log.Close()
	p := &process{pidfd: -1, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{listener}
	cmd.Dir = "/"
	cmd.SysProcAttr.PidFD = &p.pidfd
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start runner: %w", err)
	}
	p.pid = cmd.Process.Pid
	go func() { // ends with the child, which may be after us: then it is init's
		_ = cmd.Wait() // its state says what there is to know
		p.state = cmd.ProcessState.String()
		close(p.exited)
	}()
	if p.pidfd < 0 { // a kernel before 5.4
		p.kill()
		return nil, errors.New("start runner: this kernel has no pidfd")
	}
	return p, nil
}

// find opens a process that is not our child.
func find(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return &process{pid: pid, pidfd: fd}, nil
}

// kill ends the process at once. One that has ended is left alone.
func (p *process) kill() { _ = unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0) }

// wait waits until the process has ended, at most for the timeout or until ctx ends, and says whether it has.
func (p *process) wait(ctx context.Context, timeout time.Duration) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	if p.exited != nil {
		select {
		case <-p.exited:
			return true
		case <-timer.C:
		case <-ctx.Done():
		}
		return false
	}
	const step = 20 * time.Millisecond // a blocking poll of the pidfd would hold a thread
	for {
		fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 0); n > 0 && err == nil {
			return true
		}
		select {
		case <-time.After(step):
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// onExit calls f when a child has ended, unless stop is called before.
func (p *process) onExit(f func()) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-p.exited:
			f()
		case <-quit:
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// how says how the process ended, as far as that is known.
func (p *process) how() string {
	if p.exited == nil {
		return "it is gone"
	}
	select {
	case <-p.exited:
		return p.state
	default:
		return "it runs"
	}
}

func (p *process) close() { _ = unix.Close(p.pidfd) }
