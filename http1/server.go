package http1

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// defaultSweep is how often connections are looked at that may have been idle for too long. Deadlines of their own would
	// cost each request.
	defaultSweep = 5 * time.Second
	// acceptPause and maxAcceptPause are what accepting rests after an error that may pass, such as no descriptors.
	acceptPause    = 5 * time.Millisecond
	maxAcceptPause = time.Second
	// shutPause is between two looks at connections that are to end.
	shutPause = 2 * time.Millisecond
	// freshGrace is how long an ending server waits for the first request of a connection that was just accepted.
	freshGrace = 5 * time.Second
)

// Config says how a server serves.
type Config struct {
	Handler http.Handler
	// ReadHeaderTimeout bounds how long a request's head may take, and the first one's to begin.
	ReadHeaderTimeout time.Duration
	// IdleTimeout closes connections that nobody uses. Both are kept to within a few seconds.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds the head of requests that are not plain.
	MaxHeaderBytes int
	// Count is told of each connection: 1 before the next is accepted, -1 when it is closed.
	Count  func(delta int)
	Logger *slog.Logger // may be nil
}

// Server serves HTTP/1.1. It may be used with several listeners.
type Server struct {
	cfg     Config
	rest    *http.Server // for what is not plain
	given   chan net.Conn
	ended   chan struct{} // nothing is handed over any more
	closing atomic.Bool   // no request follows the one under way
	every   time.Duration // between sweeps

	handed atomic.Int64 // connections that rest has

	mu      sync.Mutex
	conns   map[*conn]struct{}
	serving bool // rest is
	done    bool // Close was called
	sweeper *time.Timer
	wait    sync.WaitGroup // for rest's goroutine
}

// New makes a server.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, conns: map[*conn]struct{}{}, given: make(chan net.Conn), ended: make(chan struct{}), every: defaultSweep}
	s.rest = &http.Server{
		Handler: cfg.Handler, ReadHeaderTimeout: cfg.ReadHeaderTimeout, IdleTimeout: cfg.IdleTimeout, MaxHeaderBytes: cfg.MaxHeaderBytes,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // what clients do wrong is no news
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				s.handed.Add(-1)
				s.count(-1)
			}
		},
	}
	return s
}

func (s *Server) count(delta int) {
	if s.cfg.Count != nil {
		s.cfg.Count(delta)
	}
}

// Serve accepts connections until the listener is closed, and returns its error.
func (s *Server) Serve(l net.Listener) error {
	pause := acceptPause
	for {
		nc, err := l.Accept()
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Temporary() { //nolint:staticcheck // as net/http: it is what tells no descriptors from a closed listener
				time.Sleep(pause)
				pause = min(2*pause, maxAcceptPause)
				continue
			}
			return err
		}
		pause = acceptPause
		if err := s.ServeConn(nc); err != nil {
			return err
		}
	}
}

// ServeConn serves a connection that was accepted. It returns at once; when the server is closed, so is the connection.
func (s *Server) ServeConn(nc net.Conn) error {
	s.count(1)
	c := &conn{server: s, nc: nc, socket: NewSocket(nc), client: nc.RemoteAddr().String(), buf: make([]byte, maxPlain)}
	if !s.enter(c) {
		_ = nc.Close()
		s.count(-1)
		return http.ErrServerClosed
	}
	go c.serve()
	return nil
}

// enter makes a connection known. It fails when the server is closed.
func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return false
	}
	s.conns[c] = struct{}{}
	if s.sweeper == nil {
		s.sweeper = time.AfterFunc(s.every, s.sweep)
	}
	return true
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// sweep closes connections that have been idle for too long.
func (s *Server) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done || len(s.conns) == 0 {
		s.sweeper = nil
		return
	}
	for c := range s.conns {
		state, seen := c.state.Load(), c.seen.Load()
		if state == active || seen != c.swept {
			c.sweeps, c.swept = 0, seen
			continue
		}
		c.sweeps++
		limit := s.cfg.IdleTimeout
		if state == fresh {
			limit = s.cfg.ReadHeaderTimeout
		}
		if time.Duration(c.sweeps)*s.every > limit {
			c.retire(state)
		}
	}
	s.sweeper.Reset(s.every)
}

// retire closes a connection, unless it has begun a request since it was in this state.
func (c *conn) retire(from state) {
	if c.state.CompareAndSwap(from, closed) {
		_ = c.nc.Close() // its goroutine sees it
	}
}

// handOver gives a connection to net/http.
func (s *Server) handOver(c *conn) {
	s.mu.Lock()
	if s.done {
		s.mu.Unlock()
		_ = c.nc.Close()
		s.count(-1)
		return
	}
	if !s.serving {
		s.serving = true
		s.wait.Go(func() { _ = s.rest.Serve((*handed)(s)) })
	}
	s.mu.Unlock()
	s.handed.Add(1)
	g := &given{Conn: c.nc, begun: bytes.NewReader(append([]byte(nil), c.buf[:c.held]...))}
	select {
	case s.given <- g:
	case <-s.ended:
		_ = c.nc.Close()
		s.handed.Add(-1)
		s.count(-1)
	}
}

// handed is the server as the listener of what it hands over.
type handed Server

// Accept implements net.Listener.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.given:
		return c, nil
	case <-h.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handed) Close() error { return nil }

// Addr implements net.Listener.
func (h *handed) Addr() net.Addr { return &net.TCPAddr{} }

// Shutdown lets requests finish and closes connections behind them. The caller has closed the listeners. It returns when no
// connection is left, or the context's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.closing.Store(true)
	s.rest.SetKeepAlivesEnabled(false) // its own Shutdown would refuse what is handed over later
	begun := time.Now()
	for {
		left := s.closeIdle(time.Since(begun) > freshGrace)
		if left == 0 && s.handed.Load() == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(shutPause):
		}
	}
}

// closeIdle closes what is idle, with connections that have sent nothing if they had their time. It answers how many are left.
func (s *Server) closeIdle(freshToo bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.retire(idle)
		if freshToo {
			c.retire(fresh)
		}
	}
	return len(s.conns)
}

// Close closes all connections at once. It may be called again.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.done {
		s.done = true
		close(s.ended)
	}
	s.closing.Store(true)
	for c := range s.conns {
		_ = c.nc.Close()
	}
	if s.sweeper != nil {
		s.sweeper.Stop()
	}
	s.mu.Unlock()
	err := s.rest.Close()
	s.wait.Wait()
	return err
}
