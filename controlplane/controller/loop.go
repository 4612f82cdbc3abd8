package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/petrelrun/petrel/controlplane/api"
)

const (
	// firstRetry and lastRetry bound how long a key waits after a failed step; the wait doubles each time.
	firstRetry = 5 * time.Millisecond
	lastRetry  = 30 * time.Second
	// batchPeriod is the least time between two steps of one key that addBatched caused. A thousand pods that turn
	// ready within a second are then some fifty looks at their owner, not a thousand.
	batchPeriod = 20 * time.Millisecond
	// batchShare, waitShare and maxBatchPeriod stretch that time for a key whose steps take long, so that one large
	// object cannot take a processor for itself: it waits batchShare times as long as its last step took, of which
	// what it waited for the API counts but waitShare times.
	batchShare     = 10
	waitShare      = 2
	maxBatchPeriod = 2 * time.Second
	// lastRunLimit bounds the memory of when keys last ran; beyond it the old entries go.
	lastRunLimit = 4096
	// syncPoll is how often run looks whether the informers have filled.
	syncPoll = 10 * time.Millisecond
)

// loop is the part that all controllers share: handlers feed a queue of keys, workers take them and reconcile.
// A key is never worked on by two workers at once.
type loop[K comparable] struct {
	env     *env
	title   string
	workers int
	// reconcile takes one step for key. A positive duration asks to come again after it.
	reconcile func(ctx context.Context, key K) (time.Duration, error)
	// sources are the informers that feed the queue.
	sources []source[K]
	// also are informers that must have filled before the first step though no handler hangs on them.
	also []schema.GroupVersionResource
	// ticker, when set, runs beside the workers and ends with its context.
	ticker func(ctx context.Context)

	queue   workqueue.TypedRateLimitingInterface[K]
	mu      sync.Mutex
	lastRun map[K]stepTimes
}

// stepTimes is when a key's last step began, how long it took, and how much of that it waited for the API (several
// waits at once add up, to more than it took); less than that while it is under way.
type stepTimes struct {
	began        time.Time
	took, waited time.Duration
}

// next is when the following batched step may begin.
func (s stepTimes) next() time.Time {
	waited := min(s.waited, s.took)
	return s.began.Add(min(max(batchPeriod, batchShare*(s.took-waited)+waitShare*waited), maxBatchPeriod))
}

// source maps the events of one resource to keys.
type source[K comparable] struct {
	gvr    schema.GroupVersionResource
	handle func(change)
}

// change is one event of an informer: old is nil for an object that came, new for one that went.
type change struct {
	old, new api.Object
}

// object is the latest state that the event tells of.
func (c change) object() api.Object {
	if c.new != nil {
		return c.new
	}
	return c.old
}

func (l *loop[K]) name() string { return l.title }

// add has key worked on soon.
func (l *loop[K]) add(key K) { l.queue.Add(key) }

// addBatched has key worked on at once when it was quiet, else when some time since its last step has passed.
func (l *loop[K]) addBatched(key K) {
	l.mu.Lock()
	last, ok := l.lastRun[key]
	l.mu.Unlock()
	if wait := last.next().Sub(l.env.Clock.Now()); ok && wait > 0 {
		l.queue.AddAfter(key, wait)
		return
	}
	l.queue.Add(key)
}

// run registers the handlers, waits for the informers to fill, works until ctx ends, and leaves nothing behind.
func (l *loop[K]) run(ctx context.Context) error {
	l.lastRun = make(map[K]stepTimes)
	l.queue = workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[K](firstRetry, lastRetry),
		workqueue.TypedRateLimitingQueueConfig[K]{Name: l.title},
	)
	defer l.queue.ShutDown()

	synced, remove, err := l.register()
	defer remove()
	if err != nil {
		return err
	}
	if err := waitSynced(ctx, synced); err != nil {
		return err
	}
	l.env.Logger.Debug("controller started", "controller", l.title)

	var group sync.WaitGroup
	for range l.workers {
		group.Go(func() {
			for l.work(ctx) {
			}
		})
	}
	if l.ticker != nil {
		group.Go(func() { l.ticker(ctx) })
	}
	<-ctx.Done()
	l.queue.ShutDown()
	group.Wait()
	return ctx.Err()
}

// register hangs the handlers on their informers and returns what tells that each has seen the first list.
func (l *loop[K]) register() (synced []cache.InformerSynced, remove func(), err error) {
	var undo []func()
	remove = func() {
		for _, u := range undo {
			u()
		}
	}
	for _, s := range l.sources {
		informer := l.env.Informers.Informer(s.gvr)
		if informer == nil {
			return nil, remove, fmt.Errorf("watch %s: the resource is not served", s.gvr.Resource)
		}
		reg, err := informer.AddEventHandler(handlerFuncs(s.handle))
		if err != nil {
			return nil, remove, fmt.Errorf("watch %s: %w", s.gvr.Resource, err)
		}
		undo = append(undo, func() {
			if err := informer.RemoveEventHandler(reg); err != nil {
				l.env.Logger.Warn("cannot remove event handler", "controller", l.title, "error", err)
			}
		})
		synced = append(synced, reg.HasSynced)
	}
	for _, gvr := range l.also {
		synced = append(synced, l.env.Informers.Informer(gvr).HasSynced)
	}
	return synced, remove, nil
}

// handlerFuncs adapts a function of changes to client-go's handler.
func handlerFuncs(handle func(change)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if o, ok := obj.(api.Object); ok {
				handle(change{new: o})
			}
		},
		UpdateFunc: func(old, obj any) {
			o, ok := obj.(api.Object)
			was, wasOK := old.(api.Object)
			if ok && wasOK {
				handle(change{old: was, new: o})
			}
		},
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if o, ok := obj.(api.Object); ok {
				handle(change{old: o})
			}
		},
	}
}

// waitSynced blocks until all are true or ctx ends.
func waitSynced(ctx context.Context, synced []cache.InformerSynced) error {
	tick := time.NewTicker(syncPoll)
	defer tick.Stop()
	for _, done := range synced {
		for !done() {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	}
	return nil
}

// work takes one key from the queue; it is false when the queue has shut down.
func (l *loop[K]) work(ctx context.Context) bool {
	key, quit := l.queue.Get()
	if quit {
		return false
	}
	defer l.queue.Done(key)
	if ctx.Err() != nil {
		return true
	}
	began := l.env.Clock.Now()
	l.note(key, stepTimes{began: began})
	step, waited := countWaiting(ctx)
	again, err := l.reconcile(step, key)
	l.note(key, stepTimes{began: began, took: l.env.Clock.Since(began), waited: time.Duration(waited.Load())})
	if err != nil {
		l.failed(ctx, key, err)
		return true
	}
	l.queue.Forget(key)
	if again > 0 {
		l.queue.AddAfter(key, again)
	}
	return true
}

func (l *loop[K]) failed(ctx context.Context, key K, err error) {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return
	}
	level := slog.LevelWarn
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		// The cache was behind; the next step sees what happened.
		level = slog.LevelDebug
	}
	l.env.Logger.Log(ctx, level, "step failed, will try again", "controller", l.title, "key", key, "error", err)
	l.queue.AddRateLimited(key)
}

// note remembers a key's last step, for addBatched.
func (l *loop[K]) note(key K, times stepTimes) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lastRun) >= lastRunLimit {
		now := l.env.Clock.Now()
		for k, last := range l.lastRun {
			if !last.next().After(now) {
				delete(l.lastRun, k)
			}
		}
	}
	l.lastRun[key] = times
}
