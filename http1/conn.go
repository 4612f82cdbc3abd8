package http1

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// state is what a connection does.
type state = int32

const (
	fresh  state = iota // it was accepted and has sent nothing
	idle                // between two requests
	active              // in one
	closed              // by the server, for being idle; its goroutine is on its way out
)

// conn is a connection with plain requests, as far as is known.
type conn struct {
	server *Server
	nc     net.Conn
	socket *Socket
	state  atomic.Int32
	sweeps int32         // how many sweeps it was seen idle in; this and swept are the sweeper's alone
	seen   atomic.Uint32 // requests
	swept  uint32        // what seen was at the last sweep
	client string        // its address

	buf  []byte
	held int // bytes in buf

	context   *lazyContext // of the request under way
	lost      atomic.Bool  // the client is not there any more
	deadlines atomic.Bool  // somebody has set some, which the next request must not find
}

var noRequest http.Request

// transaction is all that a request needs, in one piece.
type transaction struct {
	url     url.URL
	context lazyContext
	answer  answer
	body    smallBody
}

// serve serves requests until there are no more, or they are not plain.
func (c *conn) serve() {
	defer c.server.leave(c)
	var h head
	for {
		switch c.next(&h) {
		case unfinished: // the client has gone, or is too slow
			_ = c.nc.Close()
			c.server.count(-1)
			return
		case other:
			c.server.handOver(c)
			return
		}
		if !c.answer(&h) {
			_ = c.nc.Close()
			c.server.count(-1)
			return
		}
		c.held = copy(c.buf, c.buf[h.size+h.length:c.held])
		c.state.Store(idle)
	}
}

// next reads until there is a whole plain request, or something else for sure.
func (c *conn) next(h *head) verdict {
	waiting := false // for the rest of a head
	for {
		if c.held > 0 {
			if !c.begin() {
				return unfinished
			}
			v := h.parse(c.buf[:c.held])
			if v != unfinished {
				if waiting {
					_ = c.nc.SetReadDeadline(time.Time{})
				}
				return v
			}
			if !waiting {
				waiting = true
				_ = c.nc.SetReadDeadline(time.Now().Add(c.server.cfg.ReadHeaderTimeout))
			}
		}
		n, err := c.socket.Read(c.buf[c.held:])
		c.held += n
		if err != nil && n == 0 {
			return unfinished
		}
	}
}

// begin makes the connection active. It fails when the server has closed it for being idle.
func (c *conn) begin() bool {
	for {
		s := c.state.Load()
		if s == closed {
			return false
		}
		if s == active || c.state.CompareAndSwap(s, active) {
			return true
		}
	}
}

// answer serves one request. It says whether the connection can serve another.
func (c *conn) answer(h *head) bool {
	t := &transaction{}
	c.seen.Add(1)
	t.context.c = c
	c.context = &t.context
	r := noRequest.WithContext(&t.context) // a new one; nothing else gives it a context
	h.fill(r, &t.url)
	r.RemoteAddr = c.client
	r.Body = http.NoBody
	if h.length > 0 {
		t.body.rest = c.buf[h.size : h.size+h.length]
		r.Body = &t.body
	}
	t.answer.c, t.answer.isHead = c, h.method == http.MethodHead
	ok := c.handle(&t.answer, r)
	t.context.finish()
	t.body.closed, t.body.rest = true, nil
	if ok {
		ok = t.answer.finish()
	}
	if c.deadlines.Swap(false) {
		_ = c.nc.SetDeadline(time.Time{})
	}
	return ok && !c.lost.Load()
}

// handle runs the handler. It says whether the answer is to be finished: a handler that panics wants it cut.
func (c *conn) handle(a *answer, r *http.Request) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			if err, is := v.(error); !is || !errors.Is(err, http.ErrAbortHandler) {
				c.server.cfg.Logger.Error("a request's handler panicked", "panic", v, "stack", string(debug.Stack()))
			}
		}
	}()
	c.server.cfg.Handler.ServeHTTP(a, r)
	return true
}

// interruptRead ends the read of who watches the connection, without losing what it has read.
func (c *conn) interruptRead() {
	c.deadlines.Store(true)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}

// given is a connection in the hands of net/http, which first reads what was read here.
type given struct {
	net.Conn
	begun *bytes.Reader
}

// Read implements net.Conn.
func (g *given) Read(p []byte) (int, error) {
	if g.begun != nil {
		if n, err := g.begun.Read(p); err == nil {
			return n, nil
		}
		g.begun = nil
	}
	return g.Conn.Read(p)
}
