package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

const (
	// defaultPort is where an HTTP guest listens when its pod names no port.
	defaultPort = 8080
	// readHeaderTimeout bounds how long a connection may take to say what it wants.
	readHeaderTimeout = 10 * time.Second
	// idleTimeout closes keep-alive connections that nobody uses: each holds some 20 KiB.
	idleTimeout = 2 * time.Minute
	// maxHeaderBytes bounds a request's head as most servers do.
	maxHeaderBytes = 64 << 10
)

// httpServer is the workload of an HTTP guest: listeners at the pod's address, and a handler that takes an instance for
// each request.
type httpServer struct {
	listeners []net.Listener
	server    *http.Server
	runCtx    context.Context

	mu      sync.RWMutex
	config  httpabi.Config
	current *generation
	former  []*generation // replaced, with requests that had begun before
	closed  bool

	once   sync.Once     // of the end
	ended  chan struct{} // closed when no request runs any more
	killed atomic.Pointer[error]

	requests, failures atomic.Uint64
	inFlight           atomic.Int64
	nanos              atomic.Int64
}

// generation is a handler with the number of requests inside it.
type generation struct {
	*httpabi.Handler
	requests atomic.Int64
}

// noLog drops what clients do wrong: it is no news of the container's.
var noLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)

// newHTTPServer listens, so that what is wrong with addresses fails the start; run serves.
func newHTTPServer(runCtx context.Context, c *container) (*httpServer, error) {
	s := &httpServer{
		config: httpabi.Config{Template: c.template.Template, Spec: c.spec, WallTime: c.params.WallTime, Concurrency: c.params.Concurrency},
		runCtx: runCtx,
		ended:  make(chan struct{}),
	}
	h, err := httpabi.NewHandler(s.config)
	if err != nil {
		return nil, err
	}
	s.current = &generation{Handler: h}
	s.server = &http.Server{
		Handler: s, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: noLog,
	}
	if err := s.listen(runCtx, c.params.Address, c.params.Ports); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *httpServer) listen(ctx context.Context, address string, ports []uint16) error {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return errors.New("an HTTP guest needs a pod address to listen at, and its sandbox has none")
	}
	if len(ports) == 0 {
		ports = []uint16{defaultPort}
	}
	ports = slices.Compact(slices.Sorted(slices.Values(ports)))
	var lc net.ListenConfig
	for _, port := range ports {
		at := netip.AddrPortFrom(addr, port)
		l, err := lc.Listen(ctx, "tcp", at.String())
		if err != nil {
			return explainListen(at, err)
		}
		s.listeners = append(s.listeners, l)
	}
	return nil
}

// explainListen says what to do about the errors that users can mend.
func explainListen(at netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen at %s: the port is taken: by another container of this pod, or by a program that listens on all addresses: %w", at, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen at %s: the address is not one of this host: %w", at, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen at %s: ports below net.ipv4.ip_unprivileged_port_start need privileges: %w", at, err)
	}
	return fmt.Errorf("listen at %s: %w", at, err)
}

// enter answers the current generation with one more request inside.
func (s *httpServer) enter() *generation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.current.requests.Add(1)
	return s.current
}

// ServeHTTP hands the request to the current handler, and counts.
func (s *httpServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	g := s.enter()
	s.requests.Add(1)
	s.inFlight.Add(1)
	failed := true // unless the handler comes back: it panics to cut a response
	defer func() {
		if failed {
			s.failures.Add(1)
		}
		s.nanos.Add(int64(time.Since(begin)))
		s.inFlight.Add(-1)
		g.requests.Add(-1)
	}()
	g.ServeHTTP(w, r)
	failed = w.Header().Get("Content-Type") == "application/problem+json" && w.Header().Get("X-Content-Type-Options") == "nosniff"
}

// run serves until drain or kill, or until a listener fails.
func (s *httpServer) run() exit {
	stop := context.AfterFunc(s.runCtx, func() { s.kill(context.Cause(s.runCtx)) })
	defer stop()
	failed := make(chan error, len(s.listeners))
	serve := func(l net.Listener) {
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
			s.kill(fmt.Errorf("serve %s: %w", l.Addr(), err))
		}
	}
	var serving sync.WaitGroup
	for _, l := range s.listeners[1:] {
		serving.Go(func() { serve(l) })
	}
	serve(s.listeners[0]) // on this goroutine: most pods have one port, and a goroutine costs as much as all else of them
	serving.Wait()
	<-s.ended
	select {
	case err := <-failed:
		return exit{1, control.ReasonError, fmt.Sprintf("listener failed: %v", err)}
	default:
	}
	if cause := s.killed.Load(); cause != nil {
		return exit{control.ExitKilled, control.ReasonError, (*cause).Error()}
	}
	return exit{0, control.ReasonCompleted, ""}
}

// drain stops listening and lets requests finish. Connections that are idle are closed.
func (s *httpServer) drain() {
	s.once.Do(func() {
		go func() {
			// It ends with the last request, or because kill closes all connections; what it answers are the listeners'
			// errors, which kill may have closed before.
			_ = s.server.Shutdown(context.Background())
			s.finish()
		}()
	})
}

// kill ends requests where they are. After a drain it cuts that short.
func (s *httpServer) kill(cause error) {
	s.killed.CompareAndSwap(nil, &cause)
	drained := true
	s.once.Do(func() { drained = false })
	s.close()
	if !drained {
		s.finish()
	}
}

// close ends listeners, requests and connections, in this order. No request runs when it returns.
func (s *httpServer) close() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Lock()
	s.closed = true
	all := append(slices.Clone(s.former), s.current)
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, g := range all {
		wg.Go(func() { _ = g.Close() })
	}
	wg.Wait()
	_ = s.server.Close()
}

func (s *httpServer) finish() { close(s.ended) }

// replace serves further requests with another spec; those under way finish with theirs.
func (s *httpServer) replace(spec engine.Spec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return control.Errorf(control.CodePrecondition, "the container is ending")
	}
	config := s.config
	config.Spec = spec
	h, err := httpabi.NewHandler(config)
	if err != nil {
		return control.Errorf(control.CodeInvalid, "%v", err)
	}
	s.former = slices.DeleteFunc(append(s.former, s.current), func(g *generation) bool { return g.requests.Load() == 0 })
	s.config, s.current = config, &generation{Handler: h}
	return nil
}

func (s *httpServer) stats(out *control.ContainerStats) {
	out.Requests, out.Failures = s.requests.Load(), s.failures.Load()
	out.InFlight, out.GuestNanos = s.inFlight.Load(), s.nanos.Load()
}
