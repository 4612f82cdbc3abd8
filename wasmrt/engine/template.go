package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// The exit codes of a command that did not end itself, as shells and container runtimes have them.
const (
	ExitNotStarted uint32 = 126 // it could not be started
	ExitTrap       uint32 = 134 // it broke off (SIGABRT)
	ExitKilled     uint32 = 137 // it was killed, by its context or its memory limit (SIGKILL)
)

// Template is a reference to a loaded module.
type Template struct {
	program     *program
	cached      bool
	compileTime time.Duration
	closed      atomic.Bool
}

// Info tells what the module is.
func (t *Template) Info() *module.Info { return t.program.info }

// Engine returns the engine that loaded the module.
func (t *Template) Engine() *Engine { return t.program.engine }

// CompileTime is how long this Load spent getting machine code.
func (t *Template) CompileTime() time.Duration { return t.compileTime }

// Cached tells whether this Load found machine code, on disk or in memory, and compiled nothing.
func (t *Template) Cached() bool { return t.cached }

// Close gives the reference back. Instances still running keep the code alive. It may be called twice.
func (t *Template) Close() error {
	if t.closed.CompareAndSwap(false, true) {
		t.program.engine.release(t.program)
	}
	return nil
}

// Run runs a command to its end. The code is what the guest exited with, or one of the constants above, and then the
// error says more: *TrapError, *KilledError, *MemoryError, or what kept it from starting. A guest that exits by itself
// after it was refused memory keeps its code and gives a *MemoryError beside it. A trap and a refusal of memory are
// told on the guest's stderr too.
func (t *Template) Run(ctx context.Context, spec Spec) (exitCode uint32, err error) {
	if t.Info().Kind != module.KindCommand {
		return ExitNotStarted, fmt.Errorf("run module: it is a %s, not a command", t.Info().Kind)
	}
	in, err := t.instantiate(ctx, spec)
	if err == nil {
		err = in.Call(ctx, module.StartExport)
		defer in.Close()
	}
	code, err := exitOf(err)
	if code >= ExitNotStarted && err != nil && ctx.Err() == nil && spec.Stderr != nil {
		fmt.Fprintf(spec.Stderr, "petrel: %v\n", err)
	}
	return code, err
}

// exitOf maps how a command ended to its exit code.
func exitOf(err error) (uint32, error) {
	var exit *ExitError
	var trap *TrapError
	var killed *KilledError
	var memory *MemoryError
	outOfMemory := errors.As(err, &memory)
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		if outOfMemory {
			return exit.Code, memory
		}
		return exit.Code, nil
	case errors.As(err, &trap):
		if outOfMemory {
			return ExitKilled, memory
		}
		return ExitTrap, trap
	case errors.As(err, &killed):
		return ExitKilled, killed
	case outOfMemory:
		return ExitKilled, memory
	}
	return ExitNotStarted, err
}

// Instantiate makes a fresh instance of a reactor and initialises it, within the context. The instance must be closed.
func (t *Template) Instantiate(ctx context.Context, spec Spec) (*Instance, error) {
	if t.Info().Kind != module.KindReactor {
		return nil, fmt.Errorf("instantiate module: it is a %s, not a reactor", t.Info().Kind)
	}
	in, err := t.instantiate(ctx, spec)
	if err != nil {
		return nil, err
	}
	if err := in.initialise(ctx); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

// instantiate makes an instance and runs its start section, nothing more.
func (t *Template) instantiate(ctx context.Context, spec Spec) (*Instance, error) {
	if t.closed.Load() {
		return nil, fmt.Errorf("instantiate module: %w", ErrClosed)
	}
	return t.program.instantiate(ctx, spec)
}
