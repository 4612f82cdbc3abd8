package httpabi

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/httpwasm"
	"github.com/petrelrun/petrel/wasmrt/httpabi/wagi"
	"github.com/petrelrun/petrel/wasmrt/module"
)

// source is where instances come from: the pool of a reactor, or a protocol.
type source interface {
	Measure(ctx context.Context) (engine.ColdStart, error)
	Stats() engine.PoolStats
	Close() error
}

// protocol is a way of serving other than this package's own. It answers a request within its context and its writer's
// limits; the Handler around it does all else.
type protocol interface {
	source
	// Serve answers one request. When it returns an error and the response has not begun, the client is told a problem: the
	// error's own (problemer), or that of how the guest ended.
	Serve(ctx context.Context, w http.ResponseWriter, r *http.Request, stdout, stderr io.Writer) error
}

// problemer is an error that knows how the client is told. An empty code means that it does not.
type problemer interface {
	error
	Problem() (status int, code, detail, fix string)
}

// open makes what serves the configuration's ABI.
func (h *Handler) open() (err error) {
	cfg := h.cfg
	switch cfg.ABI {
	case module.ABIHTTPWasm:
		h.protocol, err = httpwasm.New(httpwasm.Config{
			Template: cfg.Template, Spec: cfg.Spec, Isolation: cfg.Isolation, NotFound: http.HandlerFunc(noNext),
		})
		h.source = h.protocol
	case module.ABIWAGI:
		h.protocol, err = wagi.New(wagi.Config{Template: cfg.Template, Spec: cfg.Spec})
		h.source = h.protocol
	default:
		if err := cfg.Template.Engine().Provide(hostModule()); err != nil {
			return err
		}
		h.pool, err = cfg.Template.NewPool(engine.PoolConfig{Spec: cfg.Spec, Isolation: cfg.Isolation, WarmUp: cfg.warmUp()})
		h.source = h.pool
	}
	return err
}

func noNext(w http.ResponseWriter, _ *http.Request) {
	problem(http.StatusNotFound, CodeNoNext, "the guest handed the request on, and there is no next handler",
		"answer it in handle_request: set a status or write a body").write(w)
}

// converse runs a protocol for one exchange.
func (h *Handler) converse(x *exchange) *Problem {
	x.mayBlock()
	x.keepBody()
	err := h.protocol.Serve(x, &tracked{x}, x.r, &x.stdout, &x.stderr)
	if flushErr := errors.Join(x.stdout.flush(), x.stderr.flush()); flushErr != nil {
		h.cfg.Logger.Warn("write guest's output", "err", flushErr)
	}
	switch {
	case err == nil, x.abort != abortNone:
		return nil
	case x.cause.Load() == nil && x.request.Err() != nil: // nobody is there, and what came of it is not the guest's fault
		x.abort = abortSilent
		return nil
	}
	var own problemer
	if errors.As(err, &own) {
		if status, code, detail, fix := own.Problem(); code != "" {
			return problem(status, code, detail, fix)
		}
	}
	return h.failed(x, err)
}

// tracked is an exchange as a protocol writes to it: it counts, and knows when the response has begun.
type tracked struct{ x *exchange }

var errResponseTooLarge = errors.New("the response is over the app's limit")

func (t *tracked) Header() http.Header { return t.x.w.Header() }

func (t *tracked) WriteHeader(status int) {
	if status >= 200 {
		t.x.began.Store(true)
	}
	t.x.w.WriteHeader(status)
}

func (t *tracked) Write(p []byte) (int, error) {
	t.x.began.Store(true)
	if int64(len(p)) > t.x.left {
		t.x.abort = abortSilent // what the client has is not the whole
		t.x.handler.count(CodeResponseTooLarge)
		return 0, errResponseTooLarge
	}
	t.x.left -= int64(len(p))
	n, err := t.x.w.Write(p)
	if errors.Is(err, http.ErrBodyNotAllowed) {
		return len(p), nil // a 204 or 304 is whole without it, and programs print a body out of habit
	}
	return n, err
}

// Unwrap is for http.ResponseController.
func (t *tracked) Unwrap() http.ResponseWriter { return t.x.w }
