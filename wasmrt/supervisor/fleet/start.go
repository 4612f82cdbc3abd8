package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/wasmrt/supervisor/cgroup"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// start starts a runner for a namespace and waits for its greeting.
func (f *Fleet) start(ctx context.Context, namespace, key, stage string) (*Runner, error) {
	dir := f.cfg.Store.RunnerDir(key)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "s")
	r := &Runner{gone: make(chan struct{})}
	user, err := f.user(namespace)
	if err != nil {
		return nil, err
	}
	if r.group, err = f.group(key); err != nil {
		return nil, err
	}
	if r.process, err = f.launch(namespace, user, dir, socket, r.group); err != nil {
		return nil, errors.Join(err, r.leaveGroup())
	}
	// Should we die before the record is written, the runner finds itself alone and ends.
	r.record = &state.Runner{Key: key, Namespace: namespace, PID: r.process.pid, User: user, Socket: socket, StartedAt: f.cfg.Now().UnixNano(), Stage: stage}
	if err = f.cfg.Store.SaveRunner(r.record); err == nil {
		greeting, cancel := context.WithCancel(ctx)
		stop := r.process.onExit(cancel) // who has died will not greet
		err = f.connect(greeting, r)
		stop()
		cancel()
	}
	if err != nil {
		r.process.kill()
		r.process.wait(context.WithoutCancel(ctx), f.cfg.Timing.Greet)
		r.process.close()
		return nil, errors.Join(fmt.Errorf("%w (%s; see %s)", err, r.process.how(), filepath.Join(dir, logFile)), r.leaveGroup())
	}
	f.cfg.Logger.Info("runner started", r.describe()...)
	return r, nil
}

// user answers the id that a namespace's runner is to have; 0 is ours.
func (f *Fleet) user(namespace string) (uint32, error) {
	if f.cfg.User == nil {
		return 0, nil
	}
	return f.cfg.User(namespace)
}

func (f *Fleet) group(key string) (*cgroup.Group, error) {
	groups := f.groups()
	if groups == nil {
		return nil, nil
	}
	return groups.Create(key)
}

func (f *Fleet) groups() *cgroup.Manager {
	if f.cfg.Groups == nil {
		return nil
	}
	return f.cfg.Groups()
}

// leaveGroup removes the runner's group. Its process must have ended.
func (r *Runner) leaveGroup() error {
	if r.group == nil {
		return nil
	}
	return r.group.Remove()
}

// describe lists what is to be known of a runner in one line.
func (r *Runner) describe() []any {
	line := []any{"namespace", r.Namespace(), "pid", r.PID(), "user", r.User()}
	confinement := r.Confinement()
	names := make([]string, 0, len(confinement))
	for name := range confinement {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		line = append(line, name, confinement[name])
	}
	return line
}

// launch starts the process with a listener that exists before it does, so that nobody has to wait for a socket.
func (f *Fleet) launch(namespace string, user uint32, dir, socket string, group *cgroup.Group) (*process, error) {
	listener, err := Listen(socket)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	file, err := listener.File()
	if err != nil {
		return nil, fmt.Errorf("hand down listener: %w", err)
	}
	defer file.Close()
	cmd := f.cfg.Command(namespace)
	// A session of its own: what a terminal sends to our process group must not reach it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if user != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: user, Gid: user}
		// The one thing of root's that a runner needs: pods may listen on ports below 1024.
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE}
	}
	p, err := spawn(cmd, dir, file)
	if err != nil || group == nil {
		return p, err
	}
	if err := group.Join(p.pid); err != nil { // it has run nothing of a guest yet
		p.kill()
		<-p.exited
		p.close()
		return nil, err
	}
	return p, nil
}
