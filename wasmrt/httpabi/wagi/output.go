package wagi

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"sync"
)

var errEnded = errors.New("the request has ended")

// output is a program's standard output: first the head, then the body, which streams. The engine may leave a write
// behind when it kills a guest, so after close nothing reaches the client any more.
type output struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	pending []byte // of the head, until it has ended
	began   bool
	flushes bool  // events are to be seen when they are written
	err     error // of the head or the client; it stays
	closed  bool
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return 0, errEnded
	case o.err != nil:
		return 0, o.err
	case o.began:
		o.err = o.send(p)
	default:
		o.err = o.begin(p)
	}
	if o.err != nil {
		return 0, o.err
	}
	return len(p), nil
}

// begin takes a piece of the head, and sends it with what follows it when it has ended.
func (o *output) begin(p []byte) error {
	o.pending = append(o.pending, p...)
	// Only a line's end can be the head's; looking at each byte that comes alone would take the square of their count.
	if bytes.IndexByte(p, '\n') < 0 && len(o.pending) <= maxHead {
		return nil
	}
	h, body, err := parseHead(o.pending)
	if errors.Is(err, errMore) {
		return nil
	}
	if err != nil {
		return &ResponseError{Reason: err.Error()}
	}
	header := o.w.Header()
	for name, values := range h.header {
		header[name] = values
	}
	o.flushes = strings.HasPrefix(h.header.Get("Content-Type"), "text/event-stream")
	o.began = true
	o.w.WriteHeader(h.status)
	rest := o.pending[body:]
	o.pending = nil
	return o.send(rest)
}

func (o *output) send(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := o.w.Write(p); err != nil {
		return err
	}
	if !o.flushes {
		return nil
	}
	if err := http.NewResponseController(o.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// close ends the response and says what was wrong with it. It waits for a write under way, which ends when the request's
// time does.
func (o *output) close() (began bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return o.began, o.err
}
