package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Store implements Interface over etcd.
type Store struct {
	cfg       Config
	log       *slog.Logger
	cache     *cache
	backend   *backend
	farewells farewells
	identity  string        // of the etcd that the cache is filled from; the follower's
	progress  chan struct{} // asks the follower for etcd's progress
	suspect   chan struct{} // tells the follower that etcd may not be the one it was

	refusal  atomic.Pointer[apierrors.StatusError] // why requests are not served; nil while they are
	startMu  sync.Mutex
	started  bool
	closed   bool
	cancel   context.CancelFunc
	followed chan struct{} // closed when the follower has ended
	failure  error         // why it ended; read after followed
}

var _ Interface = (*Store)(nil)

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure store: %w", err)
	}
	cfg.setDefaults()
	s := &Store{
		cfg:      cfg,
		log:      cfg.Logger,
		cache:    newCache(cfg.Resources, logLimits{events: cfg.LogEvents, bytes: cfg.LogBytes}),
		progress: make(chan struct{}, 1),
		suspect:  make(chan struct{}, 1),
		followed: make(chan struct{}),
	}
	s.refusal.Store(errNotStarted)
	return s, nil
}

// Start opens etcd and fills the cache. When it returns without an error the store serves until Close, whatever
// becomes of ctx.
func (s *Store) Start(ctx context.Context) error {
	s.startMu.Lock()
	defer s.startMu.Unlock()
	if s.started || s.closed {
		return errors.New("start store: it was started before")
	}
	open := openEmbedded
	if len(s.cfg.Endpoints) > 0 {
		open = openExternal
	}
	b, err := open(ctx, &s.cfg)
	if err != nil {
		return err
	}
	s.backend = b
	now, err := s.load(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("fill cache: %w", err), b.close())
	}
	followCtx, cancel := context.WithCancel(context.Background())
	s.cancel, s.started = cancel, true
	go func() {
		defer close(s.followed)
		s.failure = s.follow(followCtx)
		s.refusal.Store(errClosed)
		s.cache.end(errClosed)
	}()
	if err := s.cache.wait(ctx, now, startTimeout, s.askProgress); err != nil {
		return errors.Join(fmt.Errorf("fill cache: %w", err), s.closeLocked())
	}
	s.refusal.CompareAndSwap(errNotStarted, nil)
	return nil
}

// Run compacts etcd's history and blocks until ctx ends, or until the store cannot go on.
func (s *Store) Run(ctx context.Context) error {
	s.startMu.Lock()
	started := s.started && !s.closed
	s.startMu.Unlock()
	if !started {
		return errors.New("run store: it is not started")
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return compactEvery(ctx, s.cfg.CompactInterval, s.cache.now, s.compact, s.log)
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-s.followed:
			return fmt.Errorf("follow etcd: %w", s.failure)
		}
	})
	return g.Wait()
}

// Close ends the store and, when it is embedded, etcd. Readers that wait are told so.
func (s *Store) Close() error {
	s.startMu.Lock()
	defer s.startMu.Unlock()
	return s.closeLocked()
}

func (s *Store) closeLocked() error {
	if s.closed || !s.started {
		s.closed = true
		return nil
	}
	s.closed = true
	s.cancel()
	<-s.followed
	if err := s.backend.close(); err != nil {
		return fmt.Errorf("close etcd: %w", err)
	}
	return nil
}

// Revision is the newest revision the cache has applied.
func (s *Store) Revision() int64 { return s.cache.now() }

func (s *Store) table(r *Resource) (*table, error) {
	if refusal := s.refusal.Load(); refusal != nil {
		return nil, refusal
	}
	if t, ok := s.cache.tables[tablePath(r)]; ok {
		return t, nil
	}
	return nil, apierrors.NewInternalError(fmt.Errorf("the store was not told of %s", r.GVR.GroupResource()))
}

// fresh makes the cache at least as new as any write that was acknowledged before the call.
func (s *Store) fresh(ctx context.Context) error {
	before := s.cache.now()
	ctx, cancel := bounded(ctx)
	defer cancel()
	revision, err := s.backend.readIndex(ctx)
	if errors.Is(err, errReplaced) || err == nil && revision < before {
		// A quorum that knows less than what it told before was set back.
		signal(s.suspect)
		return apierrors.NewServiceUnavailable("etcd was replaced or set back; the cache is being filled anew")
	}
	if err != nil {
		return s.failed("read etcd's revision", err)
	}
	return s.cache.wait(ctx, revision, requestTimeout, s.askProgress)
}

// failed tells what became of a request to etcd: after the end of the store that is all there is to say.
func (s *Store) failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	if refusal := s.refusal.Load(); refusal != nil {
		return refusal
	}
	return translate(doing, err)
}

func (s *Store) askProgress() { signal(s.progress) }

// signal wakes the one who listens, if it is not already woken.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// bounded gives a request a deadline when its caller has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, requestTimeout)
}
