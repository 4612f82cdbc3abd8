package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/compile"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/image"
)

const (
	// compileTimeout bounds one compilation. The largest module takes some ten seconds.
	compileTimeout = 2 * time.Minute
	// maxCompilers bounds the compilations that run: each may take all processors and a gigabyte.
	maxCompilers = 2
	// maxAnswer bounds what is kept of a compiler's output.
	maxAnswer = 64 << 10
)

// Compiler is what images are inspected and compiled by.
type Compiler interface {
	image.Compiler
	// Evict removes a module's compiled code.
	Evict(ctx context.Context, digest string) error
}

// CompilerCommand makes the command of a compiler's process. Without a module it is to evict the digest's code.
type CompilerCommand func(ctx context.Context, modulePath, digest string) *exec.Cmd

// ProcessCompiler compiles each module in a process of its own.
type ProcessCompiler struct {
	command CompilerCommand
	slots   chan struct{}
}

// NewProcessCompiler returns a compiler whose processes run the command that compile.Run answers.
func NewProcessCompiler(command CompilerCommand) *ProcessCompiler {
	return &ProcessCompiler{command: command, slots: make(chan struct{}, maxCompilers)}
}

// Compile runs the process and waits for its answer. The process dies with ctx. What is the module's fault is
// image.ErrUnsupported; anything else may go better another time.
func (c *ProcessCompiler) Compile(ctx context.Context, modulePath, digest string) (image.Compiled, error) {
	r, err := c.run(ctx, modulePath, digest)
	if err == nil && r.Error != nil {
		err = fmt.Errorf("%w: %s: %w", image.ErrUnsupported, r.Error.Code, r.Error)
	}
	return image.Compiled{Kind: r.Kind, Micros: r.Micros, Cached: r.Cached}, err
}

// Evict runs the process that removes a module's compiled code.
func (c *ProcessCompiler) Evict(ctx context.Context, digest string) error {
	_, err := c.run(ctx, "", digest)
	return err
}

func (c *ProcessCompiler) run(ctx context.Context, modulePath, digest string) (r compile.Result, err error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return r, ctx.Err()
	}
	late := fmt.Errorf("%w: compiling it takes longer than %s", image.ErrUnsupported, compileTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, compileTimeout, late)
	defer cancel()
	cmd := c.command(ctx, modulePath, digest)
	out, said := &capped{}, &capped{}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, said, settle
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return r, fmt.Errorf("compile module: %w", context.Cause(ctx))
	case errors.As(err, &exit) && exit.ExitCode() != 1:
		// A signal or a fatal error, not the compiler's own word: the module was too much for it.
		return r, fmt.Errorf("%w: the compiler ended with %w: %s", image.ErrUnsupported, err, firstLine(said.Bytes()))
	case err != nil:
		return r, fmt.Errorf("compile module: %w: %s", err, firstLine(said.Bytes()))
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return r, fmt.Errorf("compile module: read the compiler's answer: %w", err)
	}
	return r, nil
}

// firstLine is where a Go program that dies tells what of: a panic or a fatal error.
func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	const most = 300
	if len(line) > most {
		line = line[:most] + "…"
	}
	return line
}

// capped keeps the first maxAnswer bytes.
type capped struct{ bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	if room := maxAnswer - c.Len(); room > 0 {
		c.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// freshCompiles remembers what a pull compiled until the first container made of it asks: that container is the one that
// had to wait for it.
type freshCompiles struct {
	mu     sync.Mutex
	micros map[string]int64 // by the module's digest
}

// maxFresh bounds what is remembered of modules that nobody makes a container of.
const maxFresh = 1024

func newFreshCompiles() *freshCompiles { return &freshCompiles{micros: map[string]int64{}} }

// claim answers, once, what compiling the module took.
func (f *freshCompiles) claim(digest string) (micros int64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	micros, ok = f.micros[digest]
	delete(f.micros, digest)
	return micros, ok
}

func (f *freshCompiles) note(digest string, micros int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.micros) < maxFresh {
		f.micros[digest] = micros
	}
}

// compileTimes remembers what compiling each module took on this node, for the cold start of all its containers.
type compileTimes struct {
	mu     sync.Mutex
	micros map[string]int64 // by the module's digest
}

func (t *compileTimes) note(digest string, micros int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.micros == nil {
		t.micros = map[string]int64{}
	}
	if len(t.micros) < maxFresh {
		t.micros[digest] = micros
	}
}

// settle replaces the time that a runner took to load machine code by what compiling it took, when that is known.
func (t *compileTimes) settle(s *control.Status, digest string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if micros := t.micros[digest]; micros > 0 && s.ColdStart != (control.ColdStart{}) {
		s.ColdStart.CompileMicros = micros
	}
}

type notingCompiler struct {
	image.Compiler
	fresh *freshCompiles
	times *compileTimes
}

func (f *freshCompiles) noting(c image.Compiler, t *compileTimes) image.Compiler {
	return notingCompiler{c, f, t}
}

func (c notingCompiler) Compile(ctx context.Context, modulePath, digest string) (image.Compiled, error) {
	out, err := c.Compiler.Compile(ctx, modulePath, digest)
	if err == nil && !out.Cached {
		c.fresh.note(digest, out.Micros)
		c.times.note(digest, out.Micros)
	}
	return out, err
}
