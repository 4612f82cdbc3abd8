package httpabi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/client"
	"github.com/petrelrun/petrel/wasmrt/module"
)

// Handler answers requests with guests. It is safe for concurrent use.
type Handler struct {
	cfg      Config
	pool     *engine.Pool   // of a reactor's instances; nil for other ABIs
	protocol protocol       // of other ABIs; nil for a reactor
	source   source         // the one of both that is there
	client   *client.Client // for the guest's own requests; nil when it imports nothing for that
	queue    *queue
	grace    time.Duration // disconnectGrace
	born     time.Time     // what times are counted from
	stdout   *lines
	stderr   *lines

	ctx    context.Context // ends with Close
	close  context.CancelCauseFunc
	closed atomic.Bool // Close is under way or done

	requests atomic.Uint64
	nanos    atomic.Int64
	first    atomic.Int64 // nanoseconds of the first request
	problems tally
}

// NewHandler makes a handler for an HTTP guest of any ABI. It makes no instance yet. It must be closed.
func NewHandler(cfg Config) (*Handler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	var err error
	if cfg.ABI, err = cfg.abi(); err != nil {
		return nil, fmt.Errorf("make handler: %w", err)
	}
	h := &Handler{cfg: cfg, queue: newQueue(cfg), grace: disconnectGrace, born: time.Now(), stdout: newLines(cfg.Spec.Stdout), stderr: newLines(cfg.Spec.Stderr)}
	if cfg.Template.Info().ImportsFrom(module.HTTPClientModule) {
		if err := cfg.Template.Engine().Provide(client.HostModule()); err != nil {
			return nil, fmt.Errorf("make handler: %w", err)
		}
		h.client = client.New(cfg.Spec.Egress)
	}
	if err := h.open(); err != nil {
		return nil, fmt.Errorf("make handler: %w", err)
	}
	h.ctx, h.close = context.WithCancelCause(context.Background())
	return h, nil
}

// Close ends the requests under way (503 code closing) and waits for them; later ones are refused. The caller stops
// its listeners first when requests shall finish. The template is left to its owner. It may be called twice.
func (h *Handler) Close() error {
	if !h.closed.CompareAndSwap(false, true) {
		return nil
	}
	h.close(errClosing)
	h.queue.shut()
	err := h.source.Close()
	if h.client != nil {
		err = errors.Join(err, h.client.Close())
	}
	return err
}

// ServeHTTP implements http.Handler. It panics with http.ErrAbortHandler, as net/http wants it, to cut a response that
// has begun and cannot be finished.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.Answer(w, r) }

// Answer is ServeHTTP, and says whether the answer is the guest's. Else it is a problem that the client was told instead.
func (h *Handler) Answer(w http.ResponseWriter, r *http.Request) (guests bool) {
	h.requests.Add(1)
	if r.ContentLength > h.cfg.MaxRequestBody {
		h.answer(w, problem(http.StatusRequestEntityTooLarge, CodeTooLarge,
			fmt.Sprintf("the body has %d bytes, the limit is %d", r.ContentLength, h.cfg.MaxRequestBody),
			"send less, or raise the limit (pod annotation petrel.run/max-request-body)"))
		return false
	}
	if h.closed.Load() {
		h.answer(w, closing())
		return false
	}
	if p := h.queue.enter(r.Context(), h.ctx); p != nil {
		h.answer(w, p)
		return false
	}
	begun := time.Now()
	x := h.newExchange(w, r, begun)
	defer x.drain() // after the place in the queue was given back
	defer h.queue.leave()
	p := h.serve(x, begun)
	x.release()
	took := int64(time.Since(begun))
	h.nanos.Add(took)
	if h.first.Load() == 0 {
		h.first.CompareAndSwap(0, took)
	}
	return h.finish(x, p)
}

// serve runs a guest for one exchange.
func (h *Handler) serve(x *exchange, begun time.Time) *Problem {
	if h.protocol != nil {
		return h.converse(x)
	}
	if p := x.encode(); p != nil {
		return p
	}
	in, err := h.instance(x, begun)
	if err != nil {
		return h.failed(x, err)
	}
	in.SetOutput(&x.stdout, &x.stderr)
	err = in.Call(x, module.HandleExport)
	if putErr := errors.Join(h.pool.Put(in), x.stdout.flush(), x.stderr.flush()); putErr != nil {
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

// quick is how long getting an instance takes that is there, and more.
const quick = time.Millisecond

// instance gets the exchange an instance. That the program may have to be started for it does not count as the request's
// time.
func (h *Handler) instance(x *exchange, begun time.Time) (*engine.Instance, error) {
	x.ends.Add(int64(startTime))
	in, err := h.pool.Get(x)
	if errors.Is(err, errWallTime) {
		return nil, errStartTime
	}
	if time.Since(begun) > quick || x.watched() {
		x.limit(h.cfg.WallTime)
	} else {
		x.ends.Add(-int64(startTime))
	}
	return in, err
}

func (h *Handler) failed(x *exchange, err error) *Problem {
	p := h.problemOf(err)
	if p == nil {
		x.abort = abortSilent
	}
	return p
}

// finish tells the client how it went, or cuts the connection when the answer has begun and is not whole.
func (h *Handler) finish(x *exchange, p *Problem) (guests bool) {
	if p == nil && x.abort == abortPanic {
		p = problem(http.StatusInternalServerError, CodeGuestPanic, "the app's handler panicked", "read the app's log")
	}
	if p != nil && p.Code != CodeClosing && p.Code != CodeHead {
		h.cfg.Logger.Info("guest failed", "code", p.Code, "detail", p.Detail, "method", x.r.Method)
		h.blame(p)
	}
	switch {
	case p == nil && x.abort == abortNone:
		return true
	case p == nil:
		x.cut()
	case x.began.Load() || x.abort == abortSilent:
		h.count(p.Code)
		x.cut()
	}
	h.answer(x.w, p)
	return false
}

// answer tells the client of a problem.
func (h *Handler) answer(w http.ResponseWriter, p *Problem) {
	h.count(p.Code)
	p.write(w)
}
