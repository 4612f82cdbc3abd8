package runner

import (
	"context"
	"errors"
	"path"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/petrelrun/petrel/wasmrt/egress"
	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/crilog"
	"github.com/petrelrun/petrel/wasmrt/wasi"
)

// workload is what a started container does.
type workload interface {
	// start begins the work and returns at once. Done is called once, when it has ended by itself, by drain or by kill.
	start(done func(exit))
	// drain asks for an end after what is under way.
	drain()
	// kill ends it at once. The cause is told in the container's message.
	kill(cause error)
	// stats adds what is known of it.
	stats(*control.ContainerStats)
}

// exit is how a workload ended.
type exit struct {
	code    int32
	reason  string
	message string
}

var (
	errStopped  = errors.New("killed: it was stopped and its grace period is over")
	errWallTime = errors.New("killed: its wall time is over")
)

type container struct {
	runner *Runner
	params *control.CreateParams
	spec   engine.Spec
	log    *crilog.Log
	done   chan struct{} // closed when it has exited
	source *source       // of its sockets, where it is in another network and may reach something; else nil
	execs  atomic.Int32  // commands that run beside its own
	asides asides        // what they take
	taps   taps
	stdin  *stdin // nil: empty; set by load

	// op is held by create, start and update from begin to end, so that what comes meanwhile sees the outcome.
	op sync.Mutex

	mu       sync.Mutex
	status   control.Status // State is empty until it is loaded
	template *template      // nil when it needs none any more
	work     workload       // nil until it is started
	told     time.Time      // when its failures were told last
	measured *measurement   // nil until it was started, and for commands
}

func (c *container) now() time.Time { return c.runner.cfg.Now() }

func (c *container) publish(s control.Status) {
	if err := c.runner.hub.Publish(control.EventStatus, s); err != nil {
		c.runner.cfg.Logger.Error("event lost", "container", c.params.ID, "error", err)
	}
}

func (r *Runner) newContainer(p *control.CreateParams) (*container, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	share(p)
	c := &container{runner: r, params: p, log: crilog.New(p.LogPath, r.cfg.Now), done: make(chan struct{})}
	c.spec = engine.Spec{Args: p.Args, Env: p.Env, MemoryLimit: p.MemoryLimit,
		CPUTime: p.CPUTime, CallDepth: p.CallDepth, MaxFiles: p.MaxFiles,
		Stdout: &tapped{c.log.Stream(crilog.Stdout), crilog.Stdout, &c.taps}, Stderr: &tapped{c.log.Stream(crilog.Stderr), crilog.Stderr, &c.taps}}
	if len(p.Egress) > 0 {
		policy, err := egress.Parse(p.Egress)
		if err != nil {
			return nil, control.Errorf(control.CodeInvalid, "%v", err)
		}
		if policy, err = withDNS(policy, p.DNS); err != nil {
			return nil, control.Errorf(control.CodeInvalid, "%v", err)
		}
		if p.Elsewhere {
			c.source = newSource()
			policy = policy.WithSockets(c.source.socket)
		} else if addrs, err := p.Addresses(); err == nil {
			policy = policy.WithSource(addrs...)
		}
		c.spec.Egress = policy
	} else {
		p.DNS = nil // whoever reaches nothing looks nothing up
	}
	for _, m := range p.Mounts {
		c.spec.Mounts = append(c.spec.Mounts, wasi.Mount{HostPath: m.HostPath, GuestPath: path.Clean(m.GuestPath), ReadOnly: m.ReadOnly})
	}
	if err := errors.Join(c.spec.Validate(), engine.Isolation(p.Isolation).Validate()); err != nil {
		return nil, control.Errorf(control.CodeInvalid, "%v", err)
	}
	return c, nil
}

// load gets the container's template, and with it makes it exist. c.op is held.
func (c *container) load(ctx context.Context, templates *templates) error {
	t, took, cached, err := templates.acquire(ctx, c.params.Digest, c.params.ModulePath)
	if err != nil {
		return err
	}
	abi, reason, err := module.Detect(t.Info(), c.params.HTTP, c.params.OwnPorts && len(c.params.Ports) > 0)
	if err != nil {
		t.release()
		return control.Errorf(control.CodeInvalid, "%v", err)
	}
	if c.params.Hostname != "" && (abi == module.ABICommand || abi == module.ABISockets) {
		c.spec.Env = append([]string{"HOSTNAME=" + c.params.Hostname}, c.spec.Env...) // what is named explicitly comes later
	}
	if c.params.Stdin && (abi == module.ABICommand || abi == module.ABISockets) {
		c.stdin = newStdin(c.params.StdinOnce)
		c.spec.Stdin = c.stdin.from
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.template = t
	c.status = control.Status{
		ID: c.params.ID, SandboxID: c.params.SandboxID, State: control.StateCreated, Kind: string(t.kind()),
		CreatedAt: c.now().UnixNano(), MemoryLimit: c.params.MemoryLimit, CompileMicros: took.Microseconds(), CompileCached: cached,
		Guest: control.Guest{ABI: string(abi), ABIReason: unique.Make(reason).Value(), Isolation: isolation(abi, c.params.Isolation),
			ColdStart: control.ColdStart{CompileMicros: max(1, t.CompileTime().Microseconds())}},
	}
	return nil
}

// isolation is what holds between a guest's requests. A command has none.
func isolation(abi module.ABI, wanted string) string {
	switch {
	case abi == module.ABICommand || abi == module.ABISockets:
		return ""
	case abi == module.ABIWAGI: // each request is a run of the command
		return string(engine.IsolationFresh)
	case wanted == "":
		return string(engine.IsolationReset)
	}
	return wanted
}

// start begins the work. What keeps it from beginning makes the container an exited one, as container runtimes do.
func (c *container) start(ctx, runCtx context.Context, l listening) error {
	c.op.Lock()
	defer c.op.Unlock()
	state := c.snapshot().State
	if state == "" {
		return control.Errorf(control.CodeNotFound, "container %s could not be created", c.params.ID)
	}
	if state != control.StateCreated {
		return control.Errorf(control.CodePrecondition, "container %s is %s: only a created one can be started", c.params.ID, state)
	}
	work, err := c.prepare(ctx, runCtx, l)
	if err != nil {
		c.exited(exit{control.ExitStartError, control.ReasonStartError, err.Error()})
		return control.Errorf(control.CodeStart, "start container: %v", err)
	}
	c.mu.Lock()
	c.work = work
	c.status.State, c.status.StartedAt = control.StateRunning, c.now().UnixNano()
	status := c.changed()
	c.mu.Unlock()
	c.publish(status)    // whoever asked may be gone, and the next supervisor have listed already
	work.start(c.exited) // it ends by stop, at the latest with the process's
	return nil
}

func (c *container) prepare(ctx, runCtx context.Context, l listening) (workload, error) {
	if err := c.log.Create(); err != nil {
		return nil, err
	}
	if l.refused != "" {
		return nil, errors.New(l.refused)
	}
	switch module.ABI(c.snapshot().ABI) {
	case module.ABICommand:
		return newCommand(runCtx, c.template.Template, c.spec, c.params.WallTime), nil
	case module.ABISockets:
		return newSocketServer(runCtx, c, l)
	}
	config := c.httpConfig()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	server, err := newHTTPServer(c, config, l)
	if err != nil {
		return nil, err
	}
	if err := c.measure(ctx, config); err != nil {
		server.leave()
		return nil, err
	}
	return server, nil
}

// httpConfig is what an HTTP guest's handlers are made with.
func (c *container) httpConfig() httpabi.Config {
	p := c.params
	return httpabi.Config{Template: c.template.Template, Spec: c.spec, Logger: c.runner.cfg.Logger,
		ABI: module.ABI(c.snapshot().ABI), Isolation: engine.Isolation(p.Isolation),
		OnFailure: func(f httpabi.Failure) { c.failed(f.Code, f.Detail, f.Function) },
		WallTime:  p.WallTime, Concurrency: p.Concurrency, Queue: p.Queue,
		QueueTime: p.QueueTime, MaxRequestBody: p.MaxRequestBody, MaxResponseBody: p.MaxResponseBody}
}

// exited records the end and tells it. It happens once.
func (c *container) exited(e exit) {
	_ = c.log.Close() // what could not be written is counted
	c.stdin.close()
	c.mu.Lock()
	c.status.State, c.status.FinishedAt = control.StateExited, c.now().UnixNano()
	c.status.ExitCode, c.status.Reason, c.status.Message = e.code, e.reason, e.message
	status := c.changed()
	c.mu.Unlock()
	c.release()
	c.publish(status)
	close(c.done)
}

// stop ends the container: gracefully for grace, then at once. It returns when it has ended, or with ctx.
func (c *container) stop(ctx context.Context, grace time.Duration) error {
	c.op.Lock()
	c.mu.Lock()
	work := c.work
	c.mu.Unlock()
	c.op.Unlock()
	if work == nil {
		return nil
	}
	if grace > 0 {
		work.drain()
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-c.done:
			return nil
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	work.kill(errStopped)
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// update changes the memory limit of instances to come.
func (c *container) update(limit uint64) error {
	c.op.Lock()
	defer c.op.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status.State == control.StateExited {
		return control.Errorf(control.CodePrecondition, "container %s has exited", c.params.ID)
	}
	spec := c.spec
	spec.MemoryLimit = limit
	switch work := c.work.(type) {
	case *httpServer:
		if err := work.replace(spec); err != nil {
			return err
		}
	case *command:
		return control.Errorf(control.CodePrecondition, "container %s runs a command: its one instance has the memory limit it started with", c.params.ID)
	}
	c.spec, c.status.MemoryLimit = spec, limit
	c.changed()
	return nil
}

// release gives back what only a container that may still run needs.
func (c *container) release() {
	c.mu.Lock()
	t := c.template
	c.template = nil
	c.mu.Unlock()
	if t != nil {
		t.release()
	}
	if c.source != nil {
		c.source.close()
	}
	_ = c.log.Close()
}

// changed numbers a change of the status and answers it. c.mu is held.
func (c *container) changed() control.Status {
	c.status.Revision++
	return c.status
}

func (c *container) snapshot() control.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// loaded is a snapshot that is not taken while the container is being made: who lists must not miss what comes of it.
func (c *container) loaded() control.Status {
	if s := c.snapshot(); s.State != "" {
		return s
	}
	c.op.Lock()
	defer c.op.Unlock()
	return c.snapshot()
}
