package wagi

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

// Server answers requests with runs of a command. It is safe for concurrent use.
type Server struct {
	cfg   Config
	runs  atomic.Uint64
	nanos atomic.Int64
	took  engine.Progress
}

// New makes a server. The template is left to its owner.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Server{cfg: cfg.withDefaults()}, nil
}

// Serve answers one request within ctx with a run of the program. When it returns an error, the response may have begun.
func (s *Server) Serve(ctx context.Context, w http.ResponseWriter, r *http.Request, _, stderr io.Writer) error {
	from, length, err := body(r, s.cfg.MaxBuffer)
	if err != nil {
		return err
	}
	in, out := &input{r: from}, &output{w: w}
	spec := s.cfg.Spec
	spec.Progress = &s.took
	spec.Stdin, spec.Stdout, spec.Stderr = in, out, stderr
	spec.Args = arguments(spec.Args, r.URL.RawQuery)
	spec.Env = slices.Concat(environment(r, length), spec.Env)
	begun := time.Now()
	code, err := s.cfg.Template.Run(ctx, spec)
	s.runs.Add(1)
	s.nanos.Add(int64(time.Since(begun)))
	in.close()
	began, outErr := out.close()
	switch {
	case err != nil:
		return err
	case outErr != nil:
		return outErr
	case code != 0:
		return &engine.ExitError{Code: code}
	case !began:
		return &ResponseError{Reason: "the program ended before the end of a head"}
	}
	return nil
}

// Measure tells what of a start can be told without a request: a run of the program would do what it does.
func (s *Server) Measure(context.Context) (engine.ColdStart, error) {
	return engine.ColdStart{Compile: s.cfg.Template.CompileTime(), Reason: "command"}, nil
}

// Stats tells what has been done: every instance was a fresh one.
func (s *Server) Stats() engine.PoolStats {
	n := s.runs.Load()
	u := s.took.Usage()
	return engine.PoolStats{Fresh: n, Calls: n, Fuel: u.Fuel, CPUTime: u.CPU, GuestTime: time.Duration(s.nanos.Load()), Discards: map[string]uint64{"command": n}}
}

// Close has nothing to give back.
func (s *Server) Close() error { return nil }
