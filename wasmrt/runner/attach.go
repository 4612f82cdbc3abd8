package runner

import (
	"context"
	"io"
	"os"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/crilog"
)

// attach connects the descriptors that come with the request to a running container's own streams.
func (r *Runner) attach(ctx context.Context, p *control.AttachParams) (any, error) {
	files := control.TakeFiles(ctx)
	defer control.CloseFiles(files)
	if len(files) != p.Files() {
		return nil, control.Errorf(control.CodeInvalid, "%d descriptors came, and %d streams were named", len(files), p.Files())
	}
	c, err := r.find(p.ID)
	if err != nil {
		return nil, err
	}
	if c.snapshot().State != control.StateRunning {
		return nil, control.Errorf(control.CodePrecondition, "container %s is not running", p.ID)
	}
	if p.Check && p.Stdin && c.stdin == nil {
		return nil, control.Errorf(control.CodePrecondition, "container %s has no standard input: its stdin was not asked for, or it serves HTTP", p.ID)
	}
	if !p.Check {
		c.attach(ctx, p, files)
	}
	return nil, nil
}

// attach returns when the container has ended, when those who attached have gone, or when they do not keep up.
func (c *container) attach(ctx context.Context, p *control.AttachParams, files []*os.File) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	left := make(chan struct{})
	go func() { // ends when files are closed, at the latest
		defer close(left)
		_, _ = files[0].Read(make([]byte, 1))
		cancel()
	}()
	streams := files[1:]
	var input *os.File
	if p.Stdin {
		input, streams = streams[0], streams[1:]
	}
	var open []*tap
	for _, want := range []struct {
		wanted bool
		name   string
	}{{p.Stdout, crilog.Stdout}, {p.Stderr, crilog.Stderr}} {
		if !want.wanted {
			continue
		}
		t := c.taps.open(want.name, streams[0])
		open, streams = append(open, t), streams[1:]
		go func() { // ends when the tap is closed, below
			<-t.done
			cancel()
		}()
	}
	if input != nil { // only now: who feeds a line reads the answer to it
		go c.stdin.feed(input) // ends as the first does
	}
	select {
	case <-ctx.Done():
	case <-c.done:
	}
	gone := ctx.Err() != nil
	if gone {
		control.CloseFiles(files) // nobody reads what waits
	}
	for _, t := range open {
		c.taps.close(t)
	}
	for _, t := range open {
		select {
		case <-t.done:
		case <-left: // he went instead of reading the last of it
			control.CloseFiles(files)
			<-t.done
		}
	}
	control.CloseFiles(files)
	<-left
}

// stdin is a command's standard input, which is there before anybody is attached to it.
type stdin struct {
	once bool // it ends with the first who feeds it
	from *io.PipeReader
	to   *io.PipeWriter
}

func newStdin(once bool) *stdin {
	s := &stdin{once: once}
	s.from, s.to = io.Pipe()
	return s
}

func (s *stdin) feed(from io.Reader) {
	if s == nil { // some protocols have a stdin that nobody asked for
		_, _ = io.Copy(io.Discard, from)
		return
	}
	_, _ = io.Copy(s.to, from)
	if s.once {
		_ = s.to.Close()
	}
}

// close ends it for those who feed it and for a guest that is gone.
func (s *stdin) close() {
	if s != nil {
		_ = s.from.Close()
		_ = s.to.Close()
	}
}
