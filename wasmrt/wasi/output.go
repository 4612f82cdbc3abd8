package wasi

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// output is where standard output or error goes. A Write that blocks when the guest is ended is left behind.
type output struct {
	w      io.Writer
	prompt bool
}

func (o *output) set(w io.Writer) { o.w, o.prompt = w, isPrompt(w) }

// write writes all of p or fails.
func (o *output) write(c call, p []byte) (int, Errno) {
	if o.w == nil {
		return len(p), 0
	}
	written := 0
	for written < len(p) {
		if c.ended() {
			return written, ErrnoIntr
		}
		piece := p[written:min(len(p), written+streamPiece)]
		n, err := 0, error(nil)
		if o.prompt {
			n, err = o.w.Write(piece)
		} else {
			n, err = o.writeBehind(c, bytes.Clone(piece))
		}
		if n < 0 || n > len(piece) {
			return written, ErrnoIO
		}
		written += n
		if err != nil {
			return written, streamErrno(0, err)
		}
		if n < len(piece) {
			return written, ErrnoIO
		}
	}
	return written, 0
}

type writeResult struct {
	n   int
	err error
}

var errEnded = errors.New("the guest is ended")

// writeBehind lets go of a Write that does not return when the guest is ended; data is not the guest's memory, then.
func (o *output) writeBehind(c call, data []byte) (int, error) {
	done := make(chan writeResult, 1)
	w := o.w
	go func() {
		n, err := w.Write(data)
		done <- writeResult{n, err}
	}()
	result := writeResult{err: errEnded}
	c.h.Block(func(ctx context.Context) {
		select {
		case result = <-done:
		case <-ctx.Done():
		}
	})
	return result.n, result.err
}

// stdout is a descriptor of standard output or error.
type stdout struct{ out *output }

func (*stdout) fileType() fileType      { return typeUnknown }
func (*stdout) stat() (filestat, Errno) { return filestat{kind: typeUnknown, nlink: 1}, 0 }
func (*stdout) close()                  {}

func (f *stdout) read(call, []byte, bool) (int, Errno)        { return 0, ErrnoBadf }
func (f *stdout) write(c call, p []byte, _ bool) (int, Errno) { return f.out.write(c, p) }
