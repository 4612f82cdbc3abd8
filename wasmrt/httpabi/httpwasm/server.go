package httpwasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module"
)

// Server answers requests with guests. It is safe for concurrent use.
type Server struct {
	cfg    Config
	config string
	pool   *engine.Pool

	probing  sync.Mutex
	probed   bool
	features features // that the guest enabled when it was initialised
}

// New makes a server. It makes no instance yet. It must be closed.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if err := cfg.Template.Engine().Provide(hostModule()); err != nil {
		return nil, fmt.Errorf("make http-wasm server: %w", err)
	}
	s := &Server{cfg: cfg, config: cfg.guestConfig(), probed: !enables(cfg.Template.Info())}
	var err error
	if s.pool, err = cfg.Template.NewPool(engine.PoolConfig{Spec: cfg.Spec, Isolation: cfg.Isolation, WarmUp: s.start}); err != nil {
		return nil, fmt.Errorf("make http-wasm server: %w", err)
	}
	return s, nil
}

// enables tells whether the guest can enable features at all.
func enables(info *module.Info) bool {
	return slices.ContainsFunc(info.Imports, func(im module.Import) bool {
		return im.Module == module.HTTPWasmModule && im.Name == "enable_features"
	})
}

// start initialises the guests that are built as commands.
func (s *Server) start(ctx context.Context, in *engine.Instance) error {
	if _, ok := s.cfg.Template.Info().Export(module.StartExport, module.KindFunction); !ok {
		return nil
	}
	return in.Call(ctx, module.StartExport)
}

// Serve answers one request within ctx. What the guest prints goes to stdout and stderr, and its log to stderr. When it
// returns an error, the response may have begun.
func (s *Server) Serve(ctx context.Context, w http.ResponseWriter, r *http.Request, stdout, stderr io.Writer) error {
	features, err := s.enabled(ctx)
	if err != nil {
		return err
	}
	x := newExchange(s, w, r, stderr)
	ctx = context.WithValue(ctx, exchangeKey{}, x)
	in, err := s.pool.Get(ctx)
	if err != nil {
		return err
	}
	in.SetOutput(stdout, stderr)
	x.phase, x.features = handling, features
	return errors.Join(s.handle(ctx, in, x), s.pool.Put(in))
}

func (s *Server) handle(ctx context.Context, in *engine.Instance, x *exchange) error {
	var stack [2]uint64
	if err := in.CallValues(ctx, module.HandleRequestExport, stack[:1]); err != nil {
		return x.blame(err)
	}
	if next := uint32(stack[0]); next == 0 {
		return x.finish()
	}
	if err := x.next(); err != nil {
		return err
	}
	stack[0], stack[1] = stack[0]>>32, 0 // the guest's own number for this request, and that no error came
	if err := in.CallValues(ctx, module.HandleResponseExport, stack[:]); err != nil {
		return x.blame(err)
	}
	return x.finish()
}

// enabled tells the features that the guest enables while it is initialised. For a guest that may, the first call makes an
// instance to see.
func (s *Server) enabled(ctx context.Context) (features, error) {
	s.probing.Lock()
	defer s.probing.Unlock()
	if s.probed {
		return s.features, nil
	}
	x := newExchange(s, nil, nil, s.cfg.Spec.Stderr)
	ctx = context.WithValue(ctx, exchangeKey{}, x)
	in, err := s.cfg.Template.Instantiate(ctx, s.cfg.Spec)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(s.start(ctx, in), in.Close()); err != nil {
		return 0, err
	}
	s.probed, s.features = true, x.features
	return s.features, nil
}

// Measure tells how long instances take to be made.
func (s *Server) Measure(ctx context.Context) (engine.ColdStart, error) {
	if _, err := s.enabled(ctx); err != nil {
		return engine.ColdStart{}, err
	}
	return s.pool.Measure(context.WithValue(ctx, exchangeKey{}, newExchange(s, nil, nil, s.cfg.Spec.Stderr)))
}

// Stats tells what the pool of instances has done.
func (s *Server) Stats() engine.PoolStats { return s.pool.Stats() }

// Close throws away the idle instances. No request may be under way.
func (s *Server) Close() error { return s.pool.Close() }
