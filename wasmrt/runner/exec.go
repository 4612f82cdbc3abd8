package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

var (
	errExecTime  = errors.New("killed: its time is over")
	errExecLeft  = errors.New("killed: nobody waits for it any more")
	errExecEnded = errors.New("killed: its container has ended")
)

// exec runs a further command in a running container: the module again, or one of its exports, in an instance of its own
// that sees the container's files and environment.
func (r *Runner) exec(ctx context.Context, p *control.ExecParams) (any, error) {
	files := control.TakeFiles(ctx)
	defer control.CloseFiles(files)
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if len(files) != p.Files() {
		return nil, control.Errorf(control.CodeInvalid, "%d descriptors came with the command, and %d streams were named", len(files), p.Files())
	}
	c, err := r.find(p.ID)
	if err != nil {
		return nil, err
	}
	if c.snapshot().State != control.StateRunning {
		return nil, control.Errorf(control.CodePrecondition, "container %s is not running", p.ID)
	}
	t, _, _, err := r.templates.acquire(ctx, c.params.Digest, c.params.ModulePath)
	if err != nil {
		return nil, err
	}
	defer t.release()
	export, err := execExport(t.Info(), programOf(c.params.Args), p.Args[0])
	if err != nil || p.Check {
		return &control.ExecResult{}, err
	}
	if c.execs.Add(1) > control.MaxExecs {
		c.execs.Add(-1)
		return nil, control.Errorf(control.CodeBusy, "%d commands run in container %s already", control.MaxExecs, p.ID)
	}
	defer c.execs.Add(-1)
	return c.runExec(ctx, t.Template, export, p, files), nil
}

func (c *container) runExec(ctx context.Context, t *engine.Template, export string, p *control.ExecParams, files []*os.File) *control.ExecResult {
	spec := c.execSpec(p, files[1:])
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if p.Timeout > 0 {
		timer := time.AfterFunc(p.Timeout, func() { cancel(errExecTime) })
		defer timer.Stop()
	}
	watched := make(chan struct{})
	go func() { // ends when files are closed, at the latest
		defer close(watched)
		_, _ = files[0].Read(make([]byte, 1))
		cancel(errExecLeft)
	}()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-c.done:
			cancel(errExecEnded)
		case <-ended:
		}
	}()
	spec.Progress = new(engine.Progress)
	counted := c.asides.begin(spec.Progress)
	code, err := t.RunExport(ctx, spec, export)
	counted()
	if err == nil && ctx.Err() != nil {
		err = &engine.KilledError{Cause: context.Cause(ctx)}
	}
	control.CloseFiles(files)
	<-watched
	e := exitOf(code, err)
	return &control.ExecResult{ExitCode: e.code, Reason: e.reason, Message: e.message, TimedOut: errors.Is(context.Cause(ctx), errExecTime)}
}

// execSpec is the container's but for arguments, streams and sockets.
func (c *container) execSpec(p *control.ExecParams, streams []*os.File) engine.Spec {
	c.mu.Lock()
	spec := c.spec
	c.mu.Unlock()
	spec.Args, spec.Listeners, spec.Progress = p.Args, nil, nil
	spec.Stdin, spec.Stdout, spec.Stderr = nil, nil, nil
	next := func() *os.File {
		f := streams[0]
		streams = streams[1:]
		return f
	}
	if p.Stdin {
		spec.Stdin = next()
	}
	if p.Stdout {
		spec.Stdout = next()
	}
	if p.Stderr {
		spec.Stderr = next()
	}
	return spec
}

// programOf is the name by which a container's program knows itself.
func programOf(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// execExport is the export that a command names: the module's start for the program's own name, else the one of that name.
func execExport(info *module.Info, program, word string) (string, error) {
	if info.Kind == module.KindCommand && (word == program || path.Base(word) == path.Base(program) || word == module.StartExport) {
		return module.StartExport, nil
	}
	runnable := execNames(info)
	if slices.Contains(runnable, word) {
		return word, nil
	}
	can := "it has none that takes no parameters"
	if len(runnable) > 0 {
		can = "of these: " + strings.Join(runnable, ", ")
	}
	if info.Kind == module.KindCommand {
		can = fmt.Sprintf("%s, or the module again, as %s", can, path.Base(program))
	}
	return "", control.Errorf(control.CodeInvalid,
		"a Wasm guest has no shell and no other programs, so that there is no %q: a command is one of the module's exports, %s", word, can)
}

// execNames are the exports that can be run. What the runtime calls by itself is not among them.
func execNames(info *module.Info) []string {
	own := []string{module.StartExport, module.InitializeExport}
	var names []string
	for _, e := range info.Exports {
		if !slices.Contains(own, e.Name) && !strings.HasPrefix(e.Name, "petrel_http_") && engine.Runnable(info, e.Name) {
			names = append(names, e.Name)
		}
	}
	return names
}
