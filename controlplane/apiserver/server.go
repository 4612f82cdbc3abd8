package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/resource"
)

// Server serves the API.
type Server struct {
	cfg      Config
	registry *resource.Registry
	echo     *echo.Echo
	metrics  *metrics
	inflight *inflight
	logins   *logins
	openapi  *openAPI
	decoders *decoders

	// streams ends watches and log streams when the server stops, before the connections under them.
	streams     context.Context
	stopStreams context.CancelFunc

	bound chan struct{} // closed when addr is set
	addr  atomic.Pointer[net.TCPAddr]
	ready atomic.Bool
}

// New makes a server. It does no I/O.
func New(cfg Config) (*Server, error) {
	cfg.setDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure API server: %w", err)
	}
	s := &Server{
		cfg: cfg, registry: cfg.Registry, echo: echo.New(), metrics: newMetrics(),
		inflight: newInflight(MaxReadOnlyInFlight, MaxMutatingInFlight), bound: make(chan struct{}),
	}
	s.streams, s.stopStreams = context.WithCancel(context.Background())
	s.logins = newLogins(cfg.Logger, s.metrics.registry)
	s.openapi = newOpenAPI()
	s.decoders = newDecoders(resource.Scheme())
	s.echo.HideBanner, s.echo.HidePort = true, true
	s.echo.HTTPErrorHandler = func(err error, c echo.Context) { s.writeError(c, err) }
	s.use()
	if err := s.route(); err != nil {
		return nil, fmt.Errorf("route: %w", err)
	}
	return s, nil
}

// Handler is the whole API as an http.Handler.
func (s *Server) Handler() http.Handler { return s.echo }

// Addr waits until the server listens, or ctx ends, and answers where.
func (s *Server) Addr(ctx context.Context) (netip.AddrPort, error) {
	select {
	case <-s.bound:
		return s.addr.Load().AddrPort(), nil
	case <-ctx.Done():
		return netip.AddrPort{}, fmt.Errorf("wait for the API server to listen: %w", context.Cause(ctx))
	}
}

// Run listens, makes what every cluster has, and serves until ctx ends; then it ends the streams and waits for the
// requests under way.
func (s *Server) Run(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.cfg.Listen, err)
	}
	tcp, ok := listener.Addr().(*net.TCPAddr)
	if !ok || s.cfg.TLS == nil && !tcp.IP.IsLoopback() {
		_ = listener.Close()
		return fmt.Errorf("listen on %s: it leads to %s, which is no loopback address", s.cfg.Listen, listener.Addr())
	}
	var warm sync.WaitGroup
	defer warm.Wait()
	warm.Go(s.openapi.warmUp)
	if err := s.registry.Bootstrap(ctx, s.advertised(tcp)); err != nil {
		_ = listener.Close()
		return fmt.Errorf("bootstrap: %w", err)
	}
	s.addr.Store(tcp)
	s.ready.Store(true)
	close(s.bound)

	server := &http.Server{
		Handler: s.echo, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug), ConnContext: auth.Connection,
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.registry.Run(ctx) })
	group.Go(func() error {
		if err := s.serve(server, listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return s.stop(server)
	})
	return group.Wait()
}

func (s *Server) serve(server *http.Server, listener net.Listener) error {
	if s.cfg.TLS == nil {
		return server.Serve(listener)
	}
	server.TLSConfig = s.cfg.TLS.Clone()
	// A certificate that is not taken gets an answer that says why, which a failed handshake cannot.
	server.TLSConfig.ClientAuth = tls.RequestClientCert
	return server.ServeTLS(listener, "", "")
}

// advertised is where the cluster finds the API.
func (s *Server) advertised(listening *net.TCPAddr) netip.AddrPort {
	at := listening.AddrPort()
	if s.cfg.Advertise.IsValid() {
		at = netip.AddrPortFrom(s.cfg.Advertise, at.Port())
	}
	return at
}

func (s *Server) stop(server *http.Server) error {
	s.ready.Store(false)
	s.stopStreams()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		// No failure of the server's: a client that only opened a connection counts as a request for some seconds.
		s.cfg.Logger.Warn("requests under way were cut off at the end", "after", shutdownTimeout)
		_ = server.Close()
	}
	return nil
}
