package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

const (
	// streamListen is where streams are served: whoever has been given a URL is on this machine. A URL has a secret in it
	// and is good for one connection within a minute.
	streamListen = "127.0.0.1:0"
	// streamIdle ends a stream over which nothing has gone for so long.
	streamIdle = 4 * time.Hour
	// streamHeaderTimeout and streamMaxHeader bound the request of a stream.
	streamHeaderTimeout = 10 * time.Second
	streamMaxHeader     = 16 << 10
)

// streamServer serves the streams of exec, attach and port-forward, as the CRI has it: a call answers a URL, and whoever
// connects to it gets them.
type streamServer struct {
	streaming.Server
	listener net.Listener
	web      *http.Server
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// startStreams listens and serves until stop is called.
func (s *Supervisor) startStreams(ctx context.Context) (*streamServer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", streamListen)
	if err != nil {
		return nil, fmt.Errorf("listen for streams: %w", err)
	}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "http", Host: listener.Addr().String()}
	config.StreamIdleTimeout = streamIdle
	server, err := streaming.NewServer(config, guestStreams{s})
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("make stream server: %w", err)
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &streamServer{Server: server, listener: listener, cancel: cancel}
	t.web = &http.Server{
		Handler: t.watching(server), ReadHeaderTimeout: streamHeaderTimeout, MaxHeaderBytes: streamMaxHeader,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	t.running.Go(func() {
		if err := t.web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Logger.Error("stream server ended", "error", err)
		}
	})
	return t, nil
}

// stop ends all streams and waits for that.
func (t *streamServer) stop() {
	t.cancel()
	_ = t.web.Close()
	t.running.Wait()
}

// watching ends a request's context when its connection ends, also once that is no longer the HTTP server's; and the
// connection with the server's context.
func (t *streamServer) watching(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.running.Add(1)
		defer t.running.Done()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		next.ServeHTTP(&watchedWriter{ResponseWriter: w, ctx: ctx, gone: cancel}, r.WithContext(ctx))
	})
}

type watchedWriter struct {
	http.ResponseWriter
	ctx  context.Context
	gone func()
}

// Hijack implements http.Hijacker.
func (w *watchedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	ahead, err := buffered.Peek(buffered.Reader.Buffered())
	if err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	conn := &watchedConn{Conn: raw, gone: w.gone}
	context.AfterFunc(w.ctx, func() { _ = raw.Close() })
	from := io.MultiReader(bytes.NewReader(bytes.Clone(ahead)), conn)
	return conn, bufio.NewReadWriter(bufio.NewReader(from), bufio.NewWriter(conn)), nil
}

type watchedConn struct {
	net.Conn
	gone func()
}

// Read implements net.Conn.
func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.gone()
	}
	return n, err
}

// Exec prepares the streams of a run of one of the module's exports, or of a command's module again.
func (s *Supervisor) Exec(ctx context.Context, r *runtimev1.ExecRequest) (*runtimev1.ExecResponse, error) {
	if r.GetTty() {
		return nil, status.Error(codes.InvalidArgument, "a Wasm guest has no terminal: tty must be false (kubectl exec without -t)")
	}
	if err := s.mayExec(ctx, r.GetContainerId(), r.GetCmd()); err != nil {
		return nil, err
	}
	return s.streams.GetExec(r)
}

// Attach prepares the streams of a container itself.
func (s *Supervisor) Attach(ctx context.Context, r *runtimev1.AttachRequest) (*runtimev1.AttachResponse, error) {
	if r.GetTty() {
		return nil, status.Error(codes.InvalidArgument, "a Wasm guest has no terminal: tty must be false")
	}
	id, runner, done, err := s.running(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := runner.Call(ctx, control.MethodAttach, control.AttachParams{ID: id, Stdin: r.GetStdin(), Check: true}, nil); err != nil {
		return nil, grpcError(err)
	}
	return s.streams.GetAttach(r)
}

// PortForward prepares connections to a sandbox's ports.
func (s *Supervisor) PortForward(_ context.Context, r *runtimev1.PortForwardRequest) (*runtimev1.PortForwardResponse, error) {
	if _, _, err := s.reach(r.GetPodSandboxId()); err != nil {
		return nil, err
	}
	return s.streams.GetPortForward(r)
}
