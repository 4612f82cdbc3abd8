package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// command is a guest that runs from its begin to its exit.
type command struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	template *engine.Template
	spec     engine.Spec
	wallTime time.Duration
	started  time.Time
	progress *engine.Progress
}

func newCommand(ctx context.Context, t *engine.Template, spec engine.Spec, wallTime time.Duration) *command {
	c := &command{template: t, spec: spec, wallTime: wallTime, started: time.Now(), progress: new(engine.Progress)}
	c.spec.Progress = c.progress
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	return c
}

// start runs it on a goroutine of its own, which ends by kill at the latest.
func (c *command) start(done func(exit)) {
	go func() { done(c.run()) }()
}

func (c *command) run() exit {
	defer c.cancel(nil)
	ctx := c.ctx
	if c.wallTime > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, c.wallTime, fmt.Errorf("%w (%s)", errWallTime, c.wallTime))
		defer stop()
	}
	code, err := c.template.Run(ctx, c.spec)
	if err == nil && ctx.Err() != nil {
		// Its sleep was cut short and it ended before it could be ended: what it then did is not what it was to do.
		err = &engine.KilledError{Cause: context.Cause(ctx)}
	}
	return exitOf(code, err)
}

// drain does nothing: WASI has no signals, so a command cannot be asked to end. It may end by itself until it is killed.
func (c *command) drain() {}

func (c *command) kill(cause error) { c.cancel(cause) }

func (c *command) stats(s *control.ContainerStats) {
	s.GuestNanos = int64(time.Since(c.started))
	s.InFlight = 1
	u := c.progress.Usage()
	s.MemoryBytes = u.MemoryBytes
	s.Pool.Fuel, s.Pool.CPUNanos, s.Pool.GuestNanos, s.Pool.ResidentBytes = u.Fuel, int64(u.CPU), s.GuestNanos, u.MemoryBytes
}

// exitOf says in the CRI's words how a command ended.
func exitOf(code uint32, err error) exit {
	var memory *engine.MemoryError
	var killed *engine.KilledError
	var trap *engine.TrapError
	switch {
	case errors.As(err, &memory):
		return exit{int32(code), control.ReasonOOMKilled, memory.Error()}
	case errors.As(err, &killed):
		return exit{control.ExitKilled, control.ReasonError, killed.Cause.Error()}
	case errors.As(err, &trap):
		return exit{control.ExitTrap, control.ReasonError, trap.Error()}
	case err != nil:
		return exit{control.ExitStartError, control.ReasonStartError, err.Error()}
	case code != 0:
		return exit{int32(code), control.ReasonError, ""}
	}
	return exit{0, control.ReasonCompleted, ""}
}
