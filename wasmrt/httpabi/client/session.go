package client

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// Session is the exchanges of one call into a guest. But for its exchanges' goroutines, it is used on the goroutine of
// that call only.
type Session struct {
	client  *Client
	ctx     context.Context
	changed chan struct{} // has a token when something has changed since the last wait

	open    map[int32]*exchange
	last    int32
	openErr error // why request_open failed last
	running sync.WaitGroup
}

// Session makes a session whose exchanges end with ctx. It must be closed before ctx's memory is used for anything else.
func (c *Client) Session(ctx context.Context) *Session {
	return &Session{client: c, ctx: ctx, changed: make(chan struct{}, 1), open: map[int32]*exchange{}}
}

// Close ends all exchanges and waits until nothing of them is left.
func (s *Session) Close() {
	for handle := range s.open {
		s.forget(handle)
	}
	s.running.Wait()
}

func (s *Session) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// request begins an exchange and returns its handle.
func (s *Session) request(block []byte) int32 {
	handle, err := s.begin(string(block))
	if s.openErr = err; err != nil {
		if code := codeOf(err); code != wire.ErrIO {
			return code
		}
		return wire.ErrInvalid // nothing has been sent yet: the head is at fault
	}
	return handle
}

func (s *Session) begin(block string) (int32, error) {
	if len(s.open) >= MaxOpen {
		return 0, errTooMany
	}
	head, err := wire.DecodeRequestHead(block)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(s.ctx)
	r, err := newRequest(ctx, head)
	if err == nil {
		err = s.client.check(r.URL)
	}
	if err != nil {
		cancel()
		return 0, err
	}
	x := &exchange{cancel: cancel, request: r, announced: map[string]bool{}, got: newFlow(s.signal)}
	for name := range r.Trailer {
		x.announced[name] = true
	}
	if head.ContentLength != 0 {
		x.sent = newFlow(s.signal)
		r.Body, r.ContentLength = &sentBody{x.sent, x}, head.ContentLength
	}
	handle := s.last
	s.last++
	s.open[handle] = x
	s.running.Go(func() { x.run(s.client.transport, s.signal) })
	return handle, nil
}

// write takes a piece of the request's body.
func (s *Session) write(handle int32, p []byte) int32 {
	x, ok := s.open[handle]
	switch {
	case !ok:
		return wire.ErrHandle
	case x.sent == nil || x.ended:
		return wire.ErrState
	case len(p) == 0:
		return 0
	}
	n, err := x.sent.put(p)
	if err != nil {
		return s.failed(x, err)
	}
	if n == 0 {
		return s.again()
	}
	return int32(n)
}

// end ends the request's body. Trailers must have been announced.
func (s *Session) end(handle int32, block []byte) int32 {
	x, ok := s.open[handle]
	switch {
	case !ok:
		return wire.ErrHandle
	case x.ended:
		return wire.ErrState
	}
	x.ended = true
	if x.sent == nil {
		return 0
	}
	if len(block) > 0 {
		trailer, err := wire.DecodeHeader(string(block))
		if err != nil {
			return wire.ErrInvalid
		}
		x.mu.Lock()
		x.trailer = trailer
		x.mu.Unlock()
	}
	x.sent.end(io.EOF)
	return 0
}

// head gives the response's head when it has come.
func (s *Session) head(handle int32, buf []byte) int32 {
	x, ok := s.open[handle]
	if !ok {
		return wire.ErrHandle
	}
	x.mu.Lock()
	head, err := x.head, x.err
	x.mu.Unlock()
	switch {
	case head != nil:
		return fill(buf, head)
	case err != nil:
		return s.failed(x, err)
	}
	return s.again()
}

// read gives what has come of the response's body.
func (s *Session) read(handle int32, buf []byte) int32 {
	x, ok := s.open[handle]
	switch {
	case !ok:
		return wire.ErrHandle
	case len(buf) == 0:
		return wire.ErrInvalid // a count of zero would say that the body ends
	}
	n, err := x.got.get(buf)
	switch {
	case n > 0:
		return int32(n)
	case err == io.EOF:
		return 0
	case err != nil:
		return s.failed(x, err)
	}
	return s.again()
}

func (s *Session) trailers(handle int32, buf []byte) int32 {
	x, ok := s.open[handle]
	if !ok {
		return wire.ErrHandle
	}
	x.mu.Lock()
	trailers := x.trailers
	x.mu.Unlock()
	if trailers == nil {
		return wire.ErrState
	}
	return fill(buf, trailers)
}

// again is what a call returns that found nothing yet.
func (s *Session) again() int32 {
	if s.ctx.Err() != nil {
		return wire.ErrCancelled
	}
	return wire.ErrAgain
}

// failed is what a call returns that found the exchange broken.
func (s *Session) failed(x *exchange, err error) int32 {
	if first := x.failure(); first != nil {
		err = first
	}
	return codeOf(err)
}

func (s *Session) errorText(handle int32, buf []byte) int32 {
	if handle == -1 {
		return fill(buf, []byte(textOf(s.openErr)))
	}
	x, ok := s.open[handle]
	if !ok {
		return wire.ErrHandle
	}
	return fill(buf, []byte(textOf(x.failure())))
}

func (s *Session) forget(handle int32) int32 {
	x, ok := s.open[handle]
	if !ok {
		return wire.ErrHandle
	}
	delete(s.open, handle)
	x.close()
	return 0
}

// wait returns 1 when something has changed, 0 when the time is over.
func (s *Session) wait(d time.Duration) int32 {
	select {
	case <-s.changed:
		return 1
	default:
	}
	if s.ctx.Err() != nil {
		return wire.ErrCancelled
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.changed:
		return 1
	case <-timer.C:
		return 0
	case <-s.ctx.Done():
		return wire.ErrCancelled
	}
}

// fill copies what fits whole, and returns the length needed either way.
func fill(buf, data []byte) int32 {
	if len(data) <= len(buf) {
		copy(buf, data)
	}
	return int32(len(data))
}
