package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	actionDaemon = "daemon"
	// addressFile is where containerd 1.x finds, after its restart, the address that start printed.
	addressFile = "address"
	// startTime bounds the start of a daemon and, when there is none, of the runtime.
	startTime = time.Minute
	// dialTime bounds one attempt to reach a socket of this host.
	dialTime = 2 * time.Second
	// readyFD is where a daemon says that it serves, or why not.
	readyFD = 3
	// ready is how it says so.
	ready = "ready\n"
	// maxReason bounds what it says otherwise.
	maxReason = 4096
	// maxLog is what a log may have when a daemon starts: then it begins anew, and the last one is kept.
	maxLog   = 4 << 20
	filePerm = 0o600
)

// start prints the address of the daemon, which is started when there is none.
func (m *Main) start(ctx context.Context, p *place, c *call) error {
	if c.id == "" {
		return errors.New("start: an id is required")
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := m.ensure(ctx, p, c); err != nil {
		return err
	}
	dir, err := m.Getwd()
	if err != nil {
		return fmt.Errorf("find bundle: %w", err)
	}
	address := "unix://" + p.socket()
	if err := os.WriteFile(filepath.Join(dir, addressFile), []byte(address), filePerm); err != nil {
		return fmt.Errorf("write address: %w", err)
	}
	_, err = io.WriteString(m.Stdout, address)
	return err
}

// ensure makes sure of the daemon. Of several calls at a time one starts it.
func (m *Main) ensure(ctx context.Context, p *place, c *call) error {
	if reachable(ctx, p.socket()) {
		return nil
	}
	if err := p.make(); err != nil {
		return err
	}
	release, _, err := take(p.starts(), true)
	if err != nil {
		return err
	}
	defer release()
	for !reachable(ctx, p.socket()) {
		again, err := m.launch(ctx, p, c)
		if err != nil {
			return err
		}
		if !again {
			return nil
		}
		select {
		case <-time.After(dialTime / 40):
		case <-ctx.Done():
			return fmt.Errorf("wait for the last daemon's end: %w", ctx.Err())
		}
	}
	return nil
}

func reachable(ctx context.Context, socket string) bool {
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// launch starts a daemon and waits until it serves. again says that another one lives that does not, for it is ending.
func (m *Main) launch(ctx context.Context, p *place, c *call) (again bool, err error) {
	said, says, err := os.Pipe()
	if err != nil {
		return false, fmt.Errorf("start daemon: %w", err)
	}
	defer said.Close()
	log, err := openLog(p.log())
	if err != nil {
		return false, errors.Join(err, says.Close())
	}
	defer log.Close()
	args := []string{"-namespace", c.namespace, "-address", c.address}
	if c.debug {
		args = append(args, "-debug")
	}
	cmd := m.Self(Program, append(args, actionDaemon)...)
	cmd.Dir, cmd.Env = "/", append(environment(m.Getenv), envReady+"="+strconv.Itoa(readyFD))
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{says}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = says.Close()
	if err != nil {
		return false, fmt.Errorf("start daemon: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = said.SetReadDeadline(deadline)
	}
	text, err := io.ReadAll(io.LimitReader(said, maxReason))
	switch {
	case string(text) == ready:
		return false, cmd.Process.Release()
	case len(text) > 0:
		return false, errors.Join(fmt.Errorf("the daemon did not start: %s", strings.TrimSpace(string(text))), cmd.Wait())
	case err != nil:
		return false, errors.Join(fmt.Errorf("wait for the daemon: %w", err), cmd.Process.Kill(), cmd.Wait())
	}
	return true, cmd.Wait() // another one holds the lock
}

// environment is what a daemon needs of containerd's: not what containerd sets for shims that are many.
func environment(getenv func(string) string) []string {
	env := []string{}
	for _, name := range []string{"PATH", "HOME", envRoot, envRun, envServe, envIdle, envTTRPC, "GOGC", "GOMEMLIMIT", "GODEBUG", "GOTRACEBACK"} {
		if v := getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// openLog opens the log of daemons and the runtime.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("turn log over: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, filePerm)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// readiness is a daemon's word to who started it, if it was started so.
func readiness(getenv func(string) string) (tell func(string)) {
	if getenv(envReady) != strconv.Itoa(readyFD) {
		return func(string) {}
	}
	unix.CloseOnExec(readyFD) // it is not the runtime's to hold
	f := os.NewFile(readyFD, "ready")
	return func(s string) {
		_, _ = f.WriteString(s[:min(len(s), maxReason)])
		_ = f.Close()
	}
}
