package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrUnsupported says that this host, or this user, cannot make machines.
var ErrUnsupported = errors.New("this host cannot make machines")

// bootLimit bounds how long an init takes to make its mounts.
const bootLimit = 60 * time.Second

// endLimit bounds how long an init takes to end. It cannot before every process that was started in its machine has been
// waited for by its parent.
const endLimit = 60 * time.Second

// spaces are what a machine has of its own. The group namespace is made after the init has joined its groups, so that
// the machine sees those as the roots.
const (
	spaces      = unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	afterGroups = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP
)

// Config says what a machine is.
type Config struct {
	// Name is its host name, a DNS label.
	Name string
	// Group is the path of its control groups, below those of this process.
	Group string
	// Program is the program whose main calls Init; empty: this one.
	Program string
	// Log is the file that the init writes complaints to.
	Log string
}

// Validate names the first thing that is wrong.
func (c *Config) Validate() error {
	const longest = 63 // of a host name's label
	switch {
	case c.Name == "" || len(c.Name) > longest || strings.ContainsAny(c.Name, "/. \n\x00"):
		return fmt.Errorf("machine name %q: want a host name without dots", c.Name)
	case c.Group == "" || filepath.IsAbs(c.Group) || filepath.Clean(c.Group) != c.Group || strings.HasPrefix(c.Group, ".") || strings.Contains(c.Group, "\n"):
		return fmt.Errorf("control group %q: want a relative path", c.Group)
	case c.Log == "":
		return errors.New("a machine needs a log file")
	}
	return nil
}

// Machine is a running machine.
type Machine struct {
	Place

	init *exec.Cmd
	ask  asker // over the init's standard input: it ends when that is closed
}

// Boot starts a machine. It has a loopback interface that is down, and no other.
func Boot(ctx context.Context, cfg Config) (*Machine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	g := groupsAt(all, cfg.Group)
	if err := g.make(); err != nil {
		return nil, unsupported(err)
	}
	m, err := boot(ctx, cfg, all, g)
	if err != nil {
		return nil, errors.Join(unsupported(err), Sweep(g.dirs()...))
	}
	return m, nil
}

func boot(ctx context.Context, cfg Config, all []hierarchy, g groups) (*Machine, error) {
	told, err := json.Marshal(setup{Hostname: cfg.Name, Hierarchies: all})
	if err != nil {
		return nil, fmt.Errorf("encode set-up: %w", err)
	}
	log, err := os.OpenFile(cfg.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	program := cfg.Program
	if program == "" {
		program = "/proc/self/exe"
	}
	cmd := &exec.Cmd{Path: program, Args: []string{initName, string(told)}, Stderr: log, Env: []string{}, Dir: "/"}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make sockets: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "init")
	defer theirs.Close()
	cmd.Stdin = theirs
	ours, err := seqConn(os.NewFile(uintptr(pair[0]), "init"))
	if err != nil {
		return nil, err
	}
	attr := &syscall.SysProcAttr{Cloneflags: spaces, Unshareflags: afterGroups, Setsid: true}
	if err := g.start(cmd, attr, func() error { return nil }); err != nil {
		return nil, errors.Join(fmt.Errorf("start init of %s: %w", cfg.Name, err), ours.Close())
	}
	_ = theirs.Close() // the init alone has it now, and we hear when that ends
	m := &Machine{init: cmd, ask: asker{conn: ours}}
	stop := context.AfterFunc(ctx, func() { _ = ours.Close() })
	defer stop()
	if err := ours.SetReadDeadline(time.Now().Add(bootLimit)); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	said := make([]byte, 1)
	if _, err := ours.Read(said); said[0] != ready {
		return nil, errors.Join(fmt.Errorf("start %s: its init ended (see %s): %w", cfg.Name, cfg.Log, err), context.Cause(ctx), m.Stop())
	}
	if m.Place, err = newPlace(cmd.Process.Pid, g); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return m, nil
}

// start starts a command in the groups, from a thread on which enter has been called.
func (g groups) start(cmd *exec.Cmd, attr *syscall.SysProcAttr, enter func() error) error {
	group, err := os.Open(g.Unified)
	if err != nil {
		return fmt.Errorf("open control group: %w", err)
	}
	defer group.Close()
	attr.UseCgroupFD, attr.CgroupFD = true, int(group.Fd())
	cmd.SysProcAttr = attr
	return onOwnThread(func() error {
		if err := g.joinThread(); err != nil {
			return err
		}
		if err := enter(); err != nil {
			return err
		}
		return cmd.Start()
	})
}

// unsupported marks errors that mean "not here" rather than "broken".
func unsupported(err error) error {
	for _, e := range []error{unix.EPERM, unix.EACCES, unix.ENOSYS, unix.EROFS} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w (it takes root, control groups and namespaces): %w", ErrUnsupported, err)
		}
	}
	return err
}

// Stop ends the machine and all its processes, and removes its groups. Its network goes with it.
func (m *Machine) Stop() error {
	_ = m.ask.conn.Close()
	ended := make(chan struct{})
	go func() {
		_ = m.init.Wait() // how it ends does not matter: it may have been killed
		close(ended)
	}()
	swept := Sweep(m.Groups...)
	select {
	case <-ended:
		return swept
	case <-time.After(endLimit):
		return errors.Join(swept, errors.New("end machine: its init goes on: whoever started a process in it has not waited for that"))
	}
}
