package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// maxWrites bounds the binds and status updates under way at once. When all are taken the loop waits: decisions far
// ahead of their binds would only be made on more guesses.
const maxWrites = 32

// syncPoll is how often Run looks whether the informers have filled.
const syncPoll = 10 * time.Millisecond

var (
	podsResource  = corev1.SchemeGroupVersion.WithResource("pods")
	nodesResource = corev1.SchemeGroupVersion.WithResource("nodes")
)

// Scheduler gives pending pods their nodes.
type Scheduler struct {
	cfg Config

	mu      sync.Mutex // guards queue and cluster
	queue   *Queue
	cluster *cluster
	storage storage
	// runtimeClasses is where they are looked up.
	runtimeClasses cache.Indexer

	// nudge tells the loop that something may be due; it holds at most one.
	nudge chan struct{}
	// writes holds a token for each write under way.
	writes chan struct{}
	group  sync.WaitGroup
}

// New prepares a scheduler. It reads and writes nothing.
func New(config Config) (*Scheduler, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	return &Scheduler{
		cfg: config, queue: NewQueue(), cluster: newCluster(),
		nudge: make(chan struct{}, 1), writes: make(chan struct{}, maxWrites),
	}, nil
}

// Run schedules until ctx ends. It waits for the informers to fill, and at the end for the writes under way.
func (s *Scheduler) Run(ctx context.Context) error {
	// Both must be asked for before either is waited for: they fill side by side.
	nodes, pods := s.cfg.Informers.Informer(nodesResource), s.cfg.Informers.Informer(podsResource)
	nodeHandler, err := nodes.AddEventHandler(s.nodeHandler())
	if err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	defer s.remove(nodes, nodeHandler)
	podHandler, err := pods.AddEventHandler(s.podHandler())
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	defer s.remove(pods, podHandler)
	classes := s.cfg.Informers.Informer(runtimeClassesResource)
	classHandler, err := classes.AddEventHandler(s.classHandler())
	if err != nil {
		return fmt.Errorf("watch runtime classes: %w", err)
	}
	defer s.remove(classes, classHandler)
	s.runtimeClasses = classes.GetIndexer()
	synced, done, err := s.watchStorage()
	defer done()
	if err != nil {
		return err
	}
	if err := waitSynced(ctx, append(synced, nodeHandler.HasSynced, podHandler.HasSynced, classHandler.HasSynced)...); err != nil {
		return nil
	}
	s.cfg.Logger.Debug("scheduler started")
	defer s.group.Wait()
	for ctx.Err() == nil {
		p, wait := s.next()
		if p != nil {
			s.schedule(ctx, p)
			continue
		}
		s.sleep(ctx, wait)
	}
	return nil
}

// watchStorage follows what pods' volumes depend on; done ends it.
func (s *Scheduler) watchStorage() (synced []cache.InformerSynced, done func(), err error) {
	var undo []func()
	done = func() {
		for _, u := range undo {
			u()
		}
	}
	for _, w := range []struct {
		gvr schema.GroupVersionResource
		to  *cache.Indexer
	}{{claimsResource, &s.storage.claims}, {volumesResource, &s.storage.volumes}, {classesResource, &s.storage.classes}} {
		informer := s.cfg.Informers.Informer(w.gvr)
		handler, err := informer.AddEventHandler(s.storageHandler())
		if err != nil {
			return nil, done, fmt.Errorf("watch %s: %w", w.gvr.Resource, err)
		}
		undo = append(undo, func() { s.remove(informer, handler) })
		synced = append(synced, handler.HasSynced)
		*w.to = informer.GetIndexer()
	}
	return synced, done, nil
}

func (s *Scheduler) remove(informer cache.SharedIndexInformer, handler cache.ResourceEventHandlerRegistration) {
	if err := informer.RemoveEventHandler(handler); err != nil {
		s.cfg.Logger.Warn("cannot remove event handler", "error", err)
	}
}

// waitSynced blocks until all are true or ctx ends.
func waitSynced(ctx context.Context, synced ...cache.InformerSynced) error {
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

// next returns the pod whose turn it is, or how long until there may be one; zero for not foreseeable.
func (s *Scheduler) next() (*Pod, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock.Now()
	if p := s.queue.Pop(now); p != nil {
		return p, 0
	}
	at, ok := s.queue.Next()
	if !ok {
		return nil, 0
	}
	return nil, max(at.Sub(now), time.Millisecond)
}

// sleep waits for a nudge, the time, or the end.
func (s *Scheduler) sleep(ctx context.Context, wait time.Duration) {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-s.nudge:
	case <-due:
	}
}

// poke has the loop look at the queue.
func (s *Scheduler) poke() {
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

// schedule makes one attempt for one pod.
func (s *Scheduler) schedule(ctx context.Context, p *Pod) {
	s.mu.Lock()
	snapshot := s.cluster.Snapshot()
	attempts := s.queue.Attempts(p.UID())
	s.mu.Unlock()

	if field := unserved(p.Object); field != "" && attempts == 1 {
		s.cfg.Recorder.Eventf(p.Object, corev1.EventTypeWarning, "UnsupportedConstraint",
			"%s is not served: the pod is placed without regard to it", field)
	}
	p = s.withVolumes(s.withRuntime(p, snapshot))
	d := Place(p, snapshot)
	switch {
	case d.Node == "":
		s.turnedDown(ctx, p, snapshot, d)
		return
	case p.waits():
		s.mu.Lock()
		s.queue.Park(p.UID(), s.cfg.Clock.Now())
		s.mu.Unlock()
		s.write(ctx, func() { s.chooseVolumes(ctx, p, d.Node) })
		return
	}
	s.mu.Lock()
	if !s.queue.Holds(p.UID()) {
		s.mu.Unlock()
		return // deleted, or bound by somebody else, while it was tried
	}
	s.cluster.Assume(p, d.Node)
	s.mu.Unlock()
	s.write(ctx, func() { s.bind(ctx, p, d.Node) })
}

// turnedDown puts a pod aside and tells why. A node that came to fit it meanwhile has it tried again.
func (s *Scheduler) turnedDown(ctx context.Context, p *Pod, snapshot *Snapshot, d Decision) {
	s.mu.Lock()
	now := s.cfg.Clock.Now()
	if s.cluster.FitsSince(snapshot, p) {
		s.queue.Retry(p.UID(), now)
	} else {
		s.queue.Park(p.UID(), now)
	}
	s.mu.Unlock()
	message := d.Diagnosis.Explain()
	s.cfg.Logger.Debug("no node takes the pod", "pod", p.Key(), "why", message)
	s.write(ctx, func() { s.report(ctx, p, message) })
}

// write runs a write beside the loop, as soon as there is room for one more.
func (s *Scheduler) write(ctx context.Context, do func()) {
	select {
	case s.writes <- struct{}{}:
	case <-ctx.Done():
		return
	}
	s.group.Go(func() {
		defer func() { <-s.writes }()
		do()
	})
}
