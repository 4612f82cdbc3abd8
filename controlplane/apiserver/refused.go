package apiserver

import (
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/petrelrun/petrel/controlplane/auth"
)

const (
	// refusalEvery is how often a refused login is logged, after refusalBurst at once: whoever guesses credentials must not
	// fill the disk.
	refusalEvery = time.Second
	refusalBurst = 20
)

// logins counts how requests' credentials were found, and tells of those that were refused.
type logins struct {
	log      *slog.Logger
	attempts *prometheus.CounterVec
	limit    *rate.Limiter

	mu     sync.Mutex
	untold int // refusals that were not logged since one was
}

// The results that authentication_attempts tells apart, as kube-apiserver does.
const (
	loginSuccess = "success"
	loginFailure = "failure" // refused
	loginError   = "error"   // could not be decided
)

func newLogins(log *slog.Logger, registry prometheus.Registerer) *logins {
	l := &logins{
		log: log, limit: rate.NewLimiter(rate.Every(refusalEvery), refusalBurst),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "authentication_attempts", Help: "Requests by how finding out who sent them ended.",
		}, []string{"result"}),
	}
	registry.MustRegister(l.attempts)
	return l
}

// observe is told how finding out who sent the request ended.
func (l *logins) observe(r *http.Request, err error) {
	var refusal *auth.Refusal
	switch {
	case err == nil:
		l.attempts.WithLabelValues(loginSuccess).Inc()
	case errors.As(err, &refusal):
		l.attempts.WithLabelValues(loginFailure).Inc()
		l.tell(r, refusal)
	default:
		l.attempts.WithLabelValues(loginError).Inc()
	}
}

func (l *logins) tell(r *http.Request, refusal *auth.Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.limit.Allow() {
		l.untold++
		return
	}
	l.log.Warn("login refused", "from", r.RemoteAddr, "method", r.Method, "path", r.URL.Path, "reason", refusal.Message, "unlogged", l.untold)
	l.untold = 0
}
