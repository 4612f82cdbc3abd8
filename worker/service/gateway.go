package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"sync"
	"time"

	"github.com/petrelrun/petrel/http1"
)

// Headers between the gateway and who deploys.
const (
	// probeHeader asks for the name of the pod that answers, in podHeader.
	probeHeader = "Petrel-Probe"
	podHeader   = "Petrel-Pod"
)

// gateway serves the URLs of apps.
type gateway struct {
	routes  *routes
	forward *forwarder
	proxy   *httputil.ReverseProxy // for what the forwarder leaves
	log     *slog.Logger
}

func newGateway(routes *routes, log *slog.Logger) *gateway {
	g := &gateway{routes: routes, forward: newForwarder(routes), log: log}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:      rewrite,
		Transport:    newBackends(routes),
		BufferPool:   &buffers{},
		ErrorHandler: g.failed,
		ErrorLog:     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return g
}

// ServeHTTP implements http.Handler.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := g.routes.find(r.Host)
	if to == nil {
		unknownHost(w, r)
		return
	}
	if plain(r) {
		if err := g.forward.serve(w, r, to); err != nil {
			g.failed(w, r, err)
		}
		return
	}
	g.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), routeKey{}, to)))
}

type routeKey struct{}

// rewrite keeps the Host that the client asked for, and tells of the client what nobody before us can have told.
func rewrite(p *httputil.ProxyRequest) {
	p.Out.URL.Scheme = "http"
	p.Out.URL.Host = p.In.Host // replaced by the endpoint's address when one is chosen
	p.Out.Host = p.In.Host
	p.SetXForwarded()
}

// failed answers for an app that did not.
func (g *gateway) failed(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, errNoEndpoint):
		noEndpoint(w, r)
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // the client has gone
	default:
		g.log.Debug("app did not answer", "host", r.Host, "error", err)
		badAnswer(w, r, err)
	}
}

// serve serves until ctx ends.
func (g *gateway) serve(ctx context.Context, listener net.Listener) error {
	server := http1.New(http1.Config{
		Handler: g, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, Logger: g.log,
	})
	var ending sync.WaitGroup
	ending.Go(func() { g.forward.conns.run(ctx) })
	stop := context.AfterFunc(ctx, func() {
		ending.Go(func() {
			_ = listener.Close() // Serve returns with it
			deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
			defer cancel()
			_ = server.Shutdown(deadline) // what is not done in time is cut
			_ = server.Close()
		})
	})
	err := server.Serve(listener)
	if !stop() {
		ending.Wait()
	}
	g.proxy.Transport.(*backends).close()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve gateway: %w", errors.Join(err, server.Close()))
}

// buffers are shared by the copies of bodies.
type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, copyBuffer)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }

// backends sends requests to the endpoints of their route.
type backends struct {
	routes    *routes
	transport *http.Transport
}

func newBackends(routes *routes) *backends {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &backends{routes: routes, transport: &http.Transport{
		DialContext:            dialer.DialContext,
		DisableCompression:     true, // what the app sends is what the client gets
		MaxIdleConnsPerHost:    idlePerEndpoint,
		IdleConnTimeout:        backendIdle,
		MaxResponseHeaderBytes: maxAnswerHeader,
		WriteBufferSize:        copyBuffer,
		ReadBufferSize:         copyBuffer,
	}}
}

var errNoEndpoint = errors.New("app has no ready endpoint")

// RoundTrip implements http.RoundTripper. An endpoint that does not take the connection has seen nothing of the
// request, so another may be tried; a body that has been begun is not sent twice.
func (b *backends) RoundTrip(r *http.Request) (*http.Response, error) {
	to := r.Context().Value(routeKey{}).(*route)
	client := clientOf(r)
	var tried []netip.AddrPort
	var last error
	for begin := time.Now(); mayTry(tried, begin); {
		backend, ok := b.routes.pick(r.Context(), to, client, tried)
		if !ok {
			return nil, errors.Join(errNoEndpoint, last)
		}
		r.URL.Host = backend.Addr.String()
		answer, err := b.transport.RoundTrip(r)
		if err == nil {
			if r.Header.Get(probeHeader) != "" {
				answer.Header.Set(podHeader, backend.Pod)
			}
			return answer, nil
		}
		if !neverSent(err) || !repeatable(r.Method) || r.Body != nil && r.Body != http.NoBody {
			return nil, err
		}
		tried, last = append(tried, backend.Addr), err
	}
	return nil, errors.Join(errNoEndpoint, last)
}

// mayTry bounds how many endpoints are tried, and for how long.
func mayTry(tried []netip.AddrPort, begin time.Time) bool {
	return len(tried) == 0 || len(tried) < maxDials && time.Since(begin) < holdTimeout
}

// clientOf is who asks, for session affinity.
func clientOf(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr().Unmap()
}

func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// reads reports whether a request changes nothing.
func reads(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	default:
		return false
	}
}

// repeatable reports whether a request may be sent again though the first may have arrived.
func repeatable(method string) bool {
	return reads(method) || method == http.MethodPut || method == http.MethodDelete
}

func (b *backends) close() { b.transport.CloseIdleConnections() }
