package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
)

const (
	// maxExecOutput bounds each output of an ExecSync, as other runtimes bound it: it travels in one message.
	maxExecOutput = 16 << 20
	// maxExecTime bounds an ExecSync that names no timeout.
	maxExecTime = 24 * time.Hour
)

// ExecSync runs one of the module's exports, or a command's module again, and waits for its end.
func (s *Supervisor) ExecSync(ctx context.Context, r *runtimev1.ExecSyncRequest) (*runtimev1.ExecSyncResponse, error) {
	stdout, stderr := &bounded{left: maxExecOutput}, &bounded{left: maxExecOutput}
	timeout := time.Duration(max(0, min(r.GetTimeout(), int64(maxExecTime/time.Second)))) * time.Second
	p := control.ExecParams{Args: r.GetCmd(), Timeout: timeout}
	result, err := s.exec(ctx, r.GetContainerId(), p, nil, stdout, stderr)
	if err != nil {
		return nil, grpcError(err)
	}
	if result.TimedOut {
		return nil, status.Errorf(codes.DeadlineExceeded, "the command did not end within %s", timeout)
	}
	return &runtimev1.ExecSyncResponse{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), ExitCode: result.ExitCode}, nil
}

// bounded keeps so much of what is written and drops the rest.
type bounded struct {
	bytes.Buffer
	left int
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	kept := p[:min(len(p), b.left)]
	b.left -= len(kept)
	_, _ = b.Buffer.Write(kept)
	return len(p), nil
}

// mayExec asks whether a command could be run, so that a refusal is told before anything is promised.
func (s *Supervisor) mayExec(ctx context.Context, id string, args []string) error {
	c, runner, done, err := s.running(id)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return grpcError(runner.Call(ctx, control.MethodExec, control.ExecParams{ID: c, Args: args, Check: true}, nil))
}

// running finds a running container: its whole id, and the runner that it stays in until done is called.
func (s *Supervisor) running(id string) (whole string, runner *fleet.Runner, done func(), err error) {
	c, err := s.findContainer(id)
	if err != nil {
		return "", nil, nil, err
	}
	done = s.steady(c.sandbox.record.Namespace)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if now := c.record.Status.State; now != control.StateRunning || c.sandbox.runner == nil {
		done()
		return "", nil, nil, status.Errorf(codes.FailedPrecondition, "container %s is %s: it has to run", c.record.ID, now)
	}
	return c.record.ID, c.sandbox.runner, done, nil
}

// exec runs a command with the streams that are not nil. It ends with ctx, too, and kills the command then.
func (s *Supervisor) exec(ctx context.Context, id string, p control.ExecParams, stdin io.Reader, stdout, stderr io.Writer) (control.ExecResult, error) {
	whole, runner, done, err := s.running(id)
	if err != nil {
		return control.ExecResult{}, err
	}
	defer done()
	p.ID, p.Stdin, p.Stdout, p.Stderr = whole, stdin != nil, stdout != nil, stderr != nil
	var result control.ExecResult
	if err := carry(ctx, runner, control.MethodExec, p, &result, stdin, stdout, stderr); err != nil {
		return control.ExecResult{}, fmt.Errorf("exec in container %s: %w", whole, err)
	}
	return result, nil
}

// attachTo connects streams to a container's own, until one of both sides has ended.
func (s *Supervisor) attachTo(ctx context.Context, id string, stdin io.Reader, stdout, stderr io.Writer) error {
	whole, runner, done, err := s.running(id)
	if err != nil {
		return err
	}
	defer done()
	p := control.AttachParams{ID: whole, Stdin: stdin != nil, Stdout: stdout != nil, Stderr: stderr != nil}
	if err := carry(ctx, runner, control.MethodAttach, p, nil, stdin, stdout, stderr); err != nil {
		return fmt.Errorf("attach to container %s: %w", whole, err)
	}
	return nil
}

// carry calls a method of the runner that takes streams, those that are not nil. It ends with ctx, of which the runner is told.
func carry(ctx context.Context, runner *fleet.Runner, method string, params, result any, stdin io.Reader, stdout, stderr io.Writer) error {
	pipes, err := openPipes(stdin, stdout, stderr)
	if err != nil {
		return err
	}
	defer pipes.close()
	// Its end is what the runner is told of ours; the call itself waits for the runner's last word.
	stop := context.AfterFunc(ctx, func() { _ = pipes.life.Close() })
	defer stop()
	files, err := runner.Exchange(context.WithoutCancel(ctx), method, params, pipes.theirs, result)
	control.CloseFiles(files)
	pipes.drain()
	return errors.Join(err, ctx.Err())
}

// pipes connect the streams of whoever asked with a guest in another process.
type pipes struct {
	life   *os.File
	theirs []*os.File // the runner's ends
	ours   []*os.File
	copied chan struct{} // gets one for each output that has ended
	copies int
}

func openPipes(stdin io.Reader, stdout, stderr io.Writer) (*pipes, error) {
	q := &pipes{copied: make(chan struct{}, 2)}
	var errs []error
	open := func() (from, to *os.File) {
		from, to, err := os.Pipe()
		errs = append(errs, err)
		return from, to
	}
	from, life := open()
	q.life, q.theirs = life, append(q.theirs, from)
	if stdin != nil && errors.Join(errs...) == nil {
		from, to := open()
		q.theirs, q.ours = append(q.theirs, from), append(q.ours, to)
	}
	for _, out := range []io.Writer{stdout, stderr} {
		if out != nil && errors.Join(errs...) == nil {
			from, to := open()
			q.theirs, q.ours = append(q.theirs, to), append(q.ours, from)
		}
	}
	if err := errors.Join(errs...); err != nil {
		q.close()
		return nil, err
	}
	ours := q.ours
	if stdin != nil {
		feed := ours[0]
		ours = ours[1:]
		go func() { // ends when stdin does, which is its owner's to bring about
			_, _ = io.Copy(feed, stdin)
			_ = feed.Close()
		}()
	}
	for _, to := range []io.Writer{stdout, stderr} {
		if to == nil {
			continue
		}
		from := ours[0]
		ours = ours[1:]
		q.copies++
		go func() {
			_, _ = io.Copy(to, from)
			_ = from.Close() // a writer that nobody reads is told
			q.copied <- struct{}{}
		}()
	}
	return q, nil
}

// drain waits for what the guest has printed, once the runner has let go of it.
func (q *pipes) drain() {
	control.CloseFiles(q.theirs)
	for range q.copies {
		<-q.copied
	}
}

func (q *pipes) close() {
	if q.life != nil {
		_ = q.life.Close()
	}
	control.CloseFiles(q.theirs)
	control.CloseFiles(q.ours)
}

// exitError is how streams tell an exit code.
type exitError struct{ code int }

func exitOf(r control.ExecResult) error {
	if r.ExitCode == 0 {
		return nil
	}
	return exitError{int(r.ExitCode)}
}

// Error implements error.
func (e exitError) Error() string { return e.String() }

// String tells it as shells do.
func (e exitError) String() string { return fmt.Sprintf("exit status %d", e.code) }

// Exited tells that the command has.
func (exitError) Exited() bool { return true }

// ExitStatus is the code.
func (e exitError) ExitStatus() int { return e.code }
