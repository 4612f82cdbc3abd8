package httpabi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// coldStarts is how many instances ColdStart makes; their median is told.
const coldStarts = 5

// Handler answers requests with guests. It is safe for concurrent use.
type Handler struct {
	cfg    Config
	guests instances // that requests get
	queue  *queue

	ctx   context.Context // ends with Close
	close context.CancelCauseFunc
	// running lets Close wait. It counts under mu, because a WaitGroup must not be added to while it is waited for.
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// NewHandler makes a handler for a reactor.
func NewHandler(cfg Config) (*Handler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if err := cfg.Template.Engine().Provide(hostModule()); err != nil {
		return nil, fmt.Errorf("make handler: %w", err)
	}
	h := &Handler{cfg: cfg, guests: &fresh{template: cfg.Template, spec: cfg.Spec}, queue: newQueue(cfg)}
	h.ctx, h.close = context.WithCancelCause(context.Background())
	return h, nil
}

// Close ends the requests under way (503 code closing) and waits for them; later ones are refused. The caller stops
// its listeners first when requests shall finish. The template is left to its owner.
func (h *Handler) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.close(errClosing)
	h.running.Wait()
	return nil
}

func (h *Handler) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.running.Add(1)
	return true
}

// ServeHTTP implements http.Handler. It panics with http.ErrAbortHandler, as net/http wants it, to cut a response that
// has begun and cannot be finished.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.begin() {
		h.problemOf(errClosing).write(w)
		return
	}
	defer h.running.Done()
	if r.ContentLength > h.cfg.MaxRequestBody {
		problem(http.StatusRequestEntityTooLarge, CodeTooLarge,
			fmt.Sprintf("the body has %d bytes, the limit is %d", r.ContentLength, h.cfg.MaxRequestBody), "send less").write(w)
		return
	}
	if p := h.queue.enter(r.Context(), h.ctx); p != nil {
		p.write(w)
		return
	}
	defer h.queue.leave()
	x, p := newExchange(w, r, h.cfg)
	if p == nil {
		p = h.serve(x)
	}
	h.finish(x, p)
}

// serve runs a guest for one exchange.
func (h *Handler) serve(x *exchange) *Problem {
	ctx, cancel := h.requestContext(x)
	defer cancel()
	defer x.unblockAfter(ctx)()

	g, err := h.guests.Get(ctx)
	if err != nil {
		return h.failed(x, err)
	}
	err = g.Call(withExchange(ctx, x), module.HandleExport)
	if putErr := h.guests.Put(g); putErr != nil {
		h.cfg.Logger.Warn("give instance back", "err", putErr)
	}
	if err != nil {
		return h.failed(x, err)
	}
	if x.abort == abortNone && !x.began.Load() {
		return problem(http.StatusBadGateway, CodeNoResponse, "the guest returned without an answer",
			"call response_head before the handler returns")
	}
	return nil
}

// requestContext lives for the wall time. It does not end with the client's: the guest sees that (request_cancelled) and
// has a while to finish.
func (h *Handler) requestContext(x *exchange) (context.Context, context.CancelFunc) {
	ctx, cancelCause := context.WithCancelCause(h.ctx)
	ctx, cancelTimer := context.WithTimeoutCause(ctx, h.cfg.WallTime, errWallTime)
	stop := context.AfterFunc(x.r.Context(), func() {
		grace := time.AfterFunc(disconnectGrace, func() { cancelCause(errClientGone) })
		context.AfterFunc(ctx, func() { grace.Stop() })
	})
	return ctx, func() {
		stop()
		cancelTimer()
		cancelCause(nil)
	}
}

func (h *Handler) failed(x *exchange, err error) *Problem {
	p := h.problemOf(err)
	if p != nil {
		h.cfg.Logger.Info("guest failed", "code", p.Code, "detail", p.Detail, "method", x.r.Method)
	} else {
		x.abort = abortSilent
	}
	return p
}

// finish tells the client how it went, or cuts the connection when the answer has begun and is not whole.
func (h *Handler) finish(x *exchange, p *Problem) {
	switch {
	case p == nil && x.abort == abortNone:
		return
	case x.began.Load() || x.abort == abortSilent:
		panic(http.ErrAbortHandler)
	case x.abort == abortPanic:
		p = problem(http.StatusInternalServerError, CodeGuestPanic, "the app's handler panicked", "read the app's log")
	}
	p.write(x.w)
}

// ColdStart makes fresh instances and initialises them, as a request does, and returns the median time that took. The
// first one writes to the Spec's streams, so that what keeps a module from starting is in its log.
func (h *Handler) ColdStart(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, h.cfg.WallTime, errWallTime)
	defer cancel()
	took := make([]time.Duration, coldStarts)
	source := &fresh{template: h.cfg.Template, spec: h.cfg.Spec}
	for i := range took {
		start := time.Now()
		g, err := source.Get(ctx)
		if err != nil {
			return 0, fmt.Errorf("measure cold start: %w", err)
		}
		took[i] = time.Since(start)
		if err := source.Put(g); err != nil {
			return 0, fmt.Errorf("measure cold start: %w", err)
		}
		source.spec.Stdout, source.spec.Stderr = nil, nil
	}
	slices.Sort(took)
	return took[coldStarts/2], nil
}
