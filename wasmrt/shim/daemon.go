package shim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/ttrpc"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/shim/backend"
	"github.com/petrelrun/petrel/wasmrt/shim/contents"
	"github.com/petrelrun/petrel/wasmrt/shim/events"
	"github.com/petrelrun/petrel/wasmrt/shim/output"
	"github.com/petrelrun/petrel/wasmrt/shim/tasks"
)

const (
	// idleChecks is how often a daemon looks, in the time that it stays without tasks and connections, whether it has any.
	idleChecks = 10
	// sweepEvery is how often modules are looked for that nobody uses.
	sweepEvery = 10 * time.Minute
	// locked is said of a root that a runtime serves.
	locked = "another supervisor serves this root"
	// comesFor is how long the last connection to come may be open without a task: containerd connects right before it makes one,
	// and 2.x, when it was killed, leaves open those by which it has looked for tasks that are no more.
	comesFor = 30 * time.Second
	// closeTime is what calls under way get when a daemon ends.
	closeTime = 3 * time.Second
)

// daemon serves containerd's task service until nobody needs it.
func (m *Main) daemon(ctx context.Context, p *place, c *call) error {
	tell := readiness(m.Getenv)
	err := m.serve(ctx, p, c, func() { tell(ready) })
	if err != nil {
		tell(err.Error())
	}
	return err
}

func (m *Main) serve(ctx context.Context, p *place, c *call, served func()) error {
	level := slog.LevelInfo
	if c.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(m.Stderr, &slog.HandlerOptions{Level: level})).With("daemon", p.key)
	if err := p.make(); err != nil {
		return err
	}
	release, held, err := take(p.lock(), false)
	if err != nil || held {
		return err // another one that lives is no error: it serves, or will have ended soon
	}
	defer release()
	d, err := m.newDaemon(p, c, log)
	if err != nil {
		return err
	}
	return d.run(ctx, served)
}

// daemon is the process for one containerd and namespace.
type daemon struct {
	place     *place
	log       *slog.Logger
	backend   *backend.Backend
	contents  *contents.Store
	publisher *events.Publisher
	tasks     *tasks.Service
	// stopRunners makes the command that ends the runners that a runtime has left.
	stopRunners func(context.Context) *exec.Cmd
}

func (m *Main) newDaemon(p *place, c *call, log *slog.Logger) (*daemon, error) {
	d := &daemon{place: p, log: log, stopRunners: func(ctx context.Context) *exec.Cmd {
		cmd := m.Stop(ctx, p.root)
		cmd.Dir, cmd.Env = "/", environment(m.Getenv)
		return cmd
	}}
	var err error
	d.backend, err = backend.New(backend.Config{
		Socket: p.runtime(), Command: func() *exec.Cmd { return m.runtimeCommand(p) }, Logger: log,
		Resync: func(ctx context.Context) error { return d.tasks.Resync(ctx) }, Follow: func(e *runtimev1.ContainerEventResponse) { d.tasks.Follow(e) },
	})
	if err != nil {
		return nil, err
	}
	if d.contents, err = contents.New(c.address, c.namespace); err != nil {
		return nil, err
	}
	d.publisher = events.New(events.Config{Address: m.Getenv(envTTRPC), Namespace: c.namespace, Logger: log, Now: time.Now})
	d.tasks, err = tasks.New(tasks.Config{Runtime: d.backend, Images: d.backend, Artifacts: d.contents, Publish: d.publisher.Publish,
		Owner: p.key, Namespace: c.namespace, Dir: p.output(), Logger: log, Now: time.Now})
	return d, err
}

// runtimeCommand is the runtime's, which logs where the daemon does.
func (m *Main) runtimeCommand(p *place) *exec.Cmd {
	cmd := m.Runtime(p.root, p.runtime(), p.serve)
	cmd.Dir, cmd.Env = "/", environment(m.Getenv)
	cmd.Stdout, cmd.Stderr = m.Stderr, m.Stderr
	return cmd
}

func (d *daemon) run(ctx context.Context, served func()) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() { err = errors.Join(err, d.contents.Close(), d.backend.Close()) }()
	if err := d.inherit(ctx); err != nil {
		return err
	}
	listener, err := listen(d.place.socket())
	if err != nil {
		return err
	}
	idle := newCounter(listener)
	server, err := ttrpc.NewServer()
	if err != nil {
		return fmt.Errorf("serve containerd: %w", err)
	}
	taskapi.RegisterTTRPCTaskService(server, d.tasks)
	var wg sync.WaitGroup
	wg.Go(func() { d.backend.Run(ctx) })
	wg.Go(func() { d.publisher.Run(ctx) })
	wg.Go(func() { d.sweep(ctx) })
	failed := make(chan error, 1)
	wg.Go(func() { failed <- server.Serve(context.WithoutCancel(ctx), idle) })
	d.log.Info("serving containerd's tasks", "socket", d.place.socket())
	served()
	err = d.await(ctx, idle, failed)
	_ = os.Remove(d.place.socket()) // who comes now starts another daemon
	d.tasks.Close()
	closing, stop := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer stop()
	err = errors.Join(err, ignoreClosed(server.Shutdown(closing)), ignoreClosed(server.Close()))
	cancel()
	wg.Wait()
	if d.tasks.Len() == 0 {
		d.endRuntime(context.WithoutCancel(ctx))
		err = errors.Join(err, d.place.remove())
	}
	return err
}

// endRuntime ends the runtime that nobody has pods in, and the runners that wait for further ones.
func (d *daemon) endRuntime(ctx context.Context) {
	ended, err := d.backend.End(ctx)
	if ended && err == nil {
		err = d.stop(ctx)
	}
	if err != nil {
		d.log.Warn("the runtime or runners were left running", "error", err)
	}
}

// stop runs the command that ends runners.
func (d *daemon) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	out, err := d.stopRunners(ctx).CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte(locked)) { // another daemon has started the runtime again
		return fmt.Errorf("end runners: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// needed tells whether somebody needs the daemon: for the tasks that there are, or the one that a connection has come for.
func needed(now time.Time, tasks, open int, came time.Time) bool {
	return tasks > 0 || open > 0 && now.Sub(came) < comesFor
}

// await returns when the daemon is to end: by its context, by an error, or because nobody needs it.
func (d *daemon) await(ctx context.Context, idle *counter, failed <-chan error) error {
	tick := time.NewTicker(d.place.idle / idleChecks)
	defer tick.Stop()
	last, memory := time.Now(), newTidy()
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("serve containerd: %w", err)
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			memory.look(d.tasks.Len())
			if needed(now, d.tasks.Len(), idle.open(), idle.last()) {
				last = now
			}
			if last = later(last, idle.last()); now.Sub(last) >= d.place.idle {
				d.log.Info("ending: there were no tasks for a while")
				return nil
			}
		}
	}
}

func (d *daemon) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := d.tasks.Sweep(ctx); err != nil {
				d.log.Warn("unused modules not removed", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// inherit removes what daemons that died have left in the runtime. containerd takes their pods for dead.
func (d *daemon) inherit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	end, err := output.Drain(d.place.output())
	if err != nil {
		return err
	}
	if err := d.backend.Ensure(ctx); err != nil {
		return errors.Join(err, end())
	}
	if err := removeDead(ctx, d.backend, d.place); err != nil {
		d.log.Warn("leftovers of a daemon that died", "error", err)
	}
	return end()
}

// listen makes the socket anew: who holds the daemon's lock is the only one.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, filePerm); err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), l.Close())
	}
	return l, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, ttrpc.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
