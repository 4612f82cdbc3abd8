package dns

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Errors of asking upstreams.
var (
	errNoUpstream = errors.New("there is no upstream to ask")
	errBusy       = errors.New("too many names are asked for at once")
)

// source says where an answer came from, for metrics.
type source string

const (
	fromCluster  source = "cluster"
	fromCache    source = "cache"
	fromStale    source = "stale"
	fromUpstream source = "upstream"
	fromNowhere  source = "none"
)

// flight is one question that is being asked.
type flight struct {
	done chan struct{}
	msg  *dns.Msg // set before done is closed, and not changed after
	err  error
}

// forwarder asks upstreams, each question once at a time, and keeps what they say.
type forwarder struct {
	cache   *cache
	pool    *pool
	metrics *metrics
	log     *slog.Logger

	mu      sync.Mutex
	ctx     context.Context // of the flights; nil before and after the server runs
	flights map[question]*flight
	flying  sync.WaitGroup
}

func newForwarder(m *metrics, log *slog.Logger) *forwarder {
	return &forwarder{
		cache: newCache(maxEntries, maxCacheBytes, time.Now), pool: newPool(), metrics: m, log: log, flights: map[question]*flight{},
	}
}

// resolve answers from the cache or an upstream. The message is the caller's own.
func (f *forwarder) resolve(ctx context.Context, key question) (*dns.Msg, source, error) {
	kept, fresh := f.cache.get(key)
	if fresh {
		return kept.at(f.cache.now()), fromCache, nil
	}
	if kept != nil && kept.left(f.cache.now()) {
		return kept.at(f.cache.now()), fromStale, nil
	}
	fl, err := f.ask(key)
	if err == nil {
		err = f.await(ctx, fl, kept != nil)
	}
	if err == nil && (kept == nil || staleFor(fl.msg) > 0) {
		return fl.msg.Copy(), fromUpstream, nil
	}
	if kept != nil {
		kept.leave(f.cache.now())
		return kept.at(f.cache.now()), fromStale, nil
	}
	return nil, fromNowhere, err
}

// errStale says that a stale answer is to be given rather than to wait on.
var errStale = errors.New("no fresh answer in time")

// await waits for a flight to land; not for long when there is a stale answer, and not at all when nobody is known to
// answer: the flight then goes on for the next who asks.
func (f *forwarder) await(ctx context.Context, fl *flight, hasStale bool) error {
	var giveUp <-chan time.Time
	if hasStale {
		wait := staleWait
		if f.pool.allDown() {
			wait = 0
		}
		timer := time.NewTimer(wait)
		defer timer.Stop()
		giveUp = timer.C
	}
	select {
	case <-fl.done:
		return fl.err
	case <-giveUp:
		select {
		case <-fl.done: // at the same moment
			return fl.err
		default:
			return errStale
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask joins the flight for a question, or starts it.
func (f *forwarder) ask(key question) (*flight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.flights[key]; fl != nil {
		return fl, nil
	}
	switch {
	case f.ctx == nil || len(f.pool.all()) == 0:
		return nil, errNoUpstream
	case len(f.flights) >= maxFlights:
		return nil, errBusy
	}
	fl := &flight{done: make(chan struct{})}
	f.flights[key] = fl
	ctx := f.ctx
	f.flying.Go(func() {
		fl.msg, fl.err = f.query(ctx, key)
		if fl.err == nil {
			f.cache.put(key, fl.msg)
		} else if ctx.Err() == nil { // RFC 9520: that nobody answers is kept for a moment as well
			f.cache.put(key, key.failed())
		}
		f.mu.Lock()
		delete(f.flights, key)
		f.mu.Unlock()
		close(fl.done)
	})
	return fl, nil
}

// begin lets flights start; run has to follow.
func (f *forwarder) begin(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ctx = ctx
}

// run looks after the servers until ctx ends, and waits for the last flight.
func (f *forwarder) run(ctx context.Context) {
	f.probe(ctx)
	f.mu.Lock()
	f.ctx = nil
	f.mu.Unlock()
	f.flying.Wait()
}

// probe asks the servers that are down until they answer.
func (f *forwarder) probe(ctx context.Context) {
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		var probes sync.WaitGroup
		for _, u := range f.pool.all() {
			if u.down.Load() {
				probes.Go(func() {
					if u.probe(ctx) == nil {
						f.noteWell(u)
					}
				})
			}
		}
		probes.Wait()
	}
}

func (f *forwarder) noteWell(u *upstream) {
	if u.well() {
		f.log.Info("dns server answers again", "server", u.addr.String())
	}
}

func (f *forwarder) noteUnwell(u *upstream, err error) {
	f.metrics.upstreamFailures.WithLabelValues(u.addr.String()).Inc()
	if u.unwell() {
		f.log.Warn("dns server does not answer", "server", u.addr.String(), "error", err)
	}
}

// query asks one server after another, and once more when none of them answered. A server that refuses or fails has
// answered, but another may know more: what it said is given when nobody does.
func (f *forwarder) query(ctx context.Context, key question) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	servers, err := f.pool.ranked(), errNoUpstream
	rounds, patience := 2, attemptTimeout
	if f.pool.allDown() { // no client waits long for those who most likely do not answer
		rounds, patience = 1, downTimeout
	}
	for range rounds {
		var refusal *dns.Msg
		for _, u := range servers {
			var answer *dns.Msg
			if answer, err = f.queryOne(ctx, u, key, patience); err != nil {
				if ctx.Err() != nil {
					return refusal, orNil(refusal, err)
				}
				continue
			}
			if answer.Rcode == dns.RcodeSuccess || answer.Rcode == dns.RcodeNameError {
				return answer, nil
			}
			refusal = answer
		}
		if refusal != nil {
			return refusal, nil
		}
	}
	return nil, err
}

// orNil is no error where there is an answer.
func orNil(answer *dns.Msg, err error) error {
	if answer != nil {
		return nil
	}
	return err
}

func (f *forwarder) queryOne(ctx context.Context, u *upstream, key question, patience time.Duration) (*dns.Msg, error) {
	f.metrics.upstreamQueries.WithLabelValues(u.addr.String()).Inc()
	answer, err := u.exchange(ctx, key.message(), patience)
	switch {
	case err == nil:
		f.noteWell(u)
	case ctx.Err() == nil: // else it was not given its time
		f.noteUnwell(u, err)
	}
	return answer, err
}

// failed is the answer when nobody answers.
func (q question) failed() *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(q.message(), dns.RcodeServerFailure)
	return m
}

// message is the question as it is asked.
func (q question) message() *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(q.name, q.qtype)
	m.CheckingDisabled = q.checking
	m.SetEdns0(maxUDP, q.do)
	return m
}
