package wasi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
)

// streamPiece bounds what one read or write of a standard stream copies.
const streamPiece = 64 << 10

// Prompt is a stream of the host that never waits for anybody. It is used on the guest's goroutine, with the guest's own
// memory; others get a goroutine and a copy each time, so that a guest can be ended while they wait.
type Prompt interface{ Prompt() }

func isPrompt(stream any) bool {
	switch stream.(type) {
	case Prompt, *bytes.Buffer, *bytes.Reader, *strings.Reader:
		return true
	}
	return stream == io.Discard
}

// input is where standard input comes from. A Read that blocks when the guest is ended is left behind, and what it reads
// is lost.
type input struct {
	r      io.Reader
	prompt bool
	waiter *waiter
	ahead  *readAhead // nil: nothing was read ahead
}

func (in *input) set(r io.Reader) {
	in.forget()
	in.r, in.prompt = r, isPrompt(r)
}

// forget drops what was read ahead.
func (in *input) forget() { in.ahead = nil }

// readAhead is one Read of the host's stream that the guest did not wait for to its end.
type readAhead struct {
	done chan struct{} // closed when the Read has returned; the rest is the reading goroutine's until then
	data []byte
	err  error
}

// start begins to read unless something is there.
func (in *input) start() *readAhead {
	if in.ahead == nil {
		a := &readAhead{done: make(chan struct{}), data: make([]byte, streamPiece)}
		in.ahead = a
		go a.read(in.r, in.waiter)
	}
	return in.ahead
}

func (a *readAhead) read(r io.Reader, w *waiter) {
	n, err := r.Read(a.data)
	if n < 0 || n > len(a.data) { // a broken reader is no reason to break, too
		n, err = 0, errors.New("read returned a wrong count")
	}
	a.data, a.err = a.data[:n], err
	close(a.done)
	w.wake()
}

func (a *readAhead) ready() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

func (in *input) read(c call, p []byte, wait bool) (int, Errno) {
	if in.r == nil || len(p) == 0 {
		return 0, 0
	}
	if in.prompt {
		n, err := in.r.Read(p[:min(len(p), streamPiece)])
		return n, streamErrno(n, err)
	}
	a := in.start()
	if !a.ready() {
		if !wait {
			return 0, ErrnoAgain
		}
		c.h.Block(func(ctx context.Context) {
			select {
			case <-a.done:
			case <-ctx.Done():
			}
		})
		if !a.ready() {
			return 0, ErrnoIntr
		}
	}
	n := copy(p, a.data)
	a.data = a.data[n:]
	if len(a.data) > 0 {
		return n, 0
	}
	if a.err == nil {
		in.ahead = nil
		return n, 0
	}
	return n, streamErrno(n, a.err) // stays: the end of a stream is its end
}

// more tells whether a read would go on without asking the host anew.
func (in *input) more() bool { return in.prompt || in.ahead != nil && in.ahead.ready() }

// waiting is what poll_oneoff asks: how many bytes are there, and whether a read would return.
func (in *input) waiting() (n int, ready bool) {
	if in.r == nil || in.prompt {
		return 1, true
	}
	a := in.start()
	if !a.ready() {
		return 0, false
	}
	return len(a.data), true
}

// streamErrno is for streams, whose errors have no numbers of files. What was moved comes first: the error comes again.
func streamErrno(n int, err error) Errno {
	switch {
	case err == nil, n > 0, errors.Is(err, io.EOF):
		return 0
	case errors.Is(err, io.ErrClosedPipe):
		return ErrnoPipe
	}
	return errnoOf(err)
}

// stdin is a descriptor of standard input.
type stdin struct{ in *input }

func (*stdin) fileType() fileType      { return typeUnknown }
func (*stdin) stat() (filestat, Errno) { return filestat{kind: typeUnknown, nlink: 1}, 0 }
func (*stdin) close()                  {}

func (f *stdin) read(c call, p []byte, wait bool) (int, Errno) { return f.in.read(c, p, wait) }
func (f *stdin) write(call, []byte, bool) (int, Errno)         { return 0, ErrnoBadf }
