package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// lagTimeout is how long the proxy may be behind with a change: twice the upstream proxy's sync period.
	lagTimeout = time.Minute
	// headerTimeout bounds a request's arrival, shutdownTimeout what is under way at the end.
	headerTimeout   = 5 * time.Second
	shutdownTimeout = time.Second
	// maxHeaderBytes bounds a request's header.
	maxHeaderBytes = 8 << 10
)

// Config says what to answer by.
type Config struct {
	// Progress tells when the proxy last had everything, zero before the first time, and since when it is behind, zero
	// when it is not.
	Progress func() (updated, waiting time.Time)
	// Eligible tells whether the node is to get traffic: it is known and not about to be deleted.
	Eligible func() bool
	Now      func() time.Time // nil: time.Now
	Logger   *slog.Logger
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	if c.Progress == nil || c.Eligible == nil || c.Logger == nil {
		return errors.New("proxy health needs progress, eligibility and a logger")
	}
	return nil
}

// Health is the proxy's.
type Health struct{ cfg Config }

// New answers by the configuration.
func New(cfg Config) (*Health, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Health{cfg}, nil
}

// report is the body of an answer.
type report struct {
	LastUpdated  time.Time         `json:"lastUpdated"`
	CurrentTime  time.Time         `json:"currentTime"`
	NodeEligible *bool             `json:"nodeEligible,omitempty"`
	Healthy      bool              `json:"healthy"`
	Status       map[string]status `json:"status,omitempty"`
}

// status is the part of one address family; ours have one fate.
type status struct {
	LastUpdated time.Time `json:"lastUpdated"`
	Healthy     bool      `json:"healthy"`
}

// Healthy reports whether the proxy keeps up. One that starts does.
func (h *Health) Healthy() bool { return h.report().Healthy }

func (h *Health) report() report {
	updated, waiting := h.cfg.Progress()
	r := report{CurrentTime: h.cfg.Now(), LastUpdated: updated}
	r.Healthy = updated.IsZero() || waiting.IsZero() || r.CurrentTime.Sub(waiting) < lagTimeout
	if !updated.IsZero() {
		r.Status = map[string]status{"IPv4": {updated, r.Healthy}, "IPv6": {updated, r.Healthy}}
	}
	return r
}

// ServeHTTP answers at /healthz, which says whether the node is to get traffic, and at /livez, which says whether
// restarting the proxy might help.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := h.report()
	well := out.Healthy
	switch r.URL.Path {
	case "/healthz":
		eligible := h.cfg.Eligible()
		out.NodeEligible = &eligible
		well = well && eligible
	case "/livez":
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if well {
		out.LastUpdated = out.CurrentTime // of a proxy that has nothing to do it would look stale
		w.WriteHeader(http.StatusOK)
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		h.cfg.Logger.Debug("health was not told", "error", err)
	}
}

// Serve listens until ctx ends.
func (h *Health) Serve(ctx context.Context, address string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for proxy health: %w", err)
	}
	return serve(ctx, listener, h, h.cfg.Logger)
}

func serve(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: headerTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if server.Shutdown(deadline) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(listener)
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve health: %w", err)
}
