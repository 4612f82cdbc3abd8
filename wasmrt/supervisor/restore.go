package supervisor

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
	"github.com/petrelrun/petrel/wasmrt/supervisor/netns"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// awayDeath is how containers are told that ended with a runner while nobody looked.
var awayDeath = fleet.Death{How: "it is gone; it ended while the supervisor was away"}

// restore reads the records, adopts the runners and asks them what happened. It answers the keys of those that are ending,
// because others have taken their places.
func (s *Supervisor) restore(ctx context.Context) (ending []string, err error) {
	snap, err := s.store.Load()
	if err != nil {
		return nil, err
	}
	dropped, err := s.images.Open()
	if err != nil {
		return nil, err
	}
	for _, d := range append(snap.Dropped, dropped...) {
		s.cfg.Logger.Warn("record dropped", "error", d)
	}
	if cidr, err := netip.ParsePrefix(snap.Runtime.PodCIDR); err == nil {
		s.addresses.setCIDR(cidr)
	}
	for _, record := range snap.Sandboxes {
		if err := s.restoreSandbox(record); err != nil {
			s.cfg.Logger.Warn("sandbox dropped", "sandbox", record.ID, "error", err)
		}
	}
	for _, record := range snap.Containers {
		if err := s.restoreContainer(record); err != nil {
			s.cfg.Logger.Warn("container dropped", "container", record.ID, "error", err)
		}
	}
	current, others := fleet.Current(snap.Runners)
	for _, record := range others {
		if err := s.fleet.Finish(ctx, record, renewGrace); err != nil {
			s.cfg.Logger.Warn("runner not ended", "namespace", record.Namespace, "error", err)
		}
		if record.Stage == state.StagePast {
			ending = append(ending, record.Key)
		}
	}
	s.adoptAll(ctx, current)
	return ending, nil
}

func (s *Supervisor) restoreSandbox(record *state.Sandbox) error {
	config := &runtimev1.PodSandboxConfig{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(record.Config, config); err != nil {
		return fmt.Errorf("decode config: %w", err)
	}
	small, err := pack(config)
	if err != nil {
		return fmt.Errorf("pack config: %w", err)
	}
	b := &sandbox{config: small, record: *record, containers: map[string]*container{}}
	b.record.Config = nil // decoded
	path := config.GetAnnotations()[annotationNetns]
	b.apart = path != ""
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.reserve(sandboxName(config.GetMetadata()), record.ID); err != nil {
		return err
	}
	s.sandboxes[record.ID] = b
	s.pods.addSandbox(b)
	if !record.Ready {
		return nil
	}
	s.users[record.Namespace]++
	if b.apart {
		if b.space, err = netns.Open(path); err != nil { // what listens there goes on
			s.cfg.Logger.Warn("a sandbox makes no connections any more", "sandbox", record.ID, "error", err)
		}
		return nil
	}
	_, err = s.addresses.take(record.Address, record.ID)
	return err
}

func (s *Supervisor) restoreContainer(record *state.Container) error {
	config := &runtimev1.ContainerConfig{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(record.Config, config); err != nil {
		return fmt.Errorf("decode config: %w", err)
	}
	small, err := pack(config)
	if err != nil {
		return fmt.Errorf("pack config: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.sandboxes[record.SandboxID]
	if b == nil {
		return fmt.Errorf("sandbox %s is not there", record.SandboxID)
	}
	if err := s.reserve(containerName(record.SandboxID, config.GetMetadata()), record.ID); err != nil {
		return err
	}
	c := &container{sandbox: b, config: small, record: *record, exited: make(chan struct{})}
	c.record.Config = nil // decoded
	if record.Status.State == control.StateExited {
		close(c.exited)
	}
	s.containers[record.ID] = c
	s.pods.addContainer(c)
	b.containers[record.ID] = c
	return nil
}

// adoptAll takes over every runner that is there, at the same time, and marks what is left without one.
func (s *Supervisor) adoptAll(ctx context.Context, records []*state.Runner) {
	var wg sync.WaitGroup
	for _, record := range records {
		wg.Go(func() {
			r, err := s.fleet.Adopt(ctx, record)
			if err != nil {
				s.cfg.Logger.Warn("runner not adopted", "namespace", record.Namespace, "error", err)
				return
			}
			s.attach(r)
			if err := s.reconcile(ctx, r); err != nil {
				s.cfg.Logger.Error("adopted runner not listed", "namespace", record.Namespace, "error", err)
			}
			s.feedAgain(ctx, r)
			if !s.needed(record.Namespace) {
				s.fleet.Release(record.Namespace)
			}
		})
	}
	wg.Wait()
	for _, b := range s.allSandboxes() {
		s.mu.RLock()
		orphan := b.runner == nil
		s.mu.RUnlock()
		if orphan {
			s.lose(b, awayDeath)
		}
	}
}

func (s *Supervisor) allSandboxes() []*sandbox {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*sandbox, 0, len(s.sandboxes))
	for _, b := range s.sandboxes {
		all = append(all, b)
	}
	return all
}

// attach gives a runner the sandboxes of its namespace. One that died meanwhile was told dead before it had any.
func (s *Supervisor) attach(r *fleet.Runner) {
	var lost []*sandbox
	s.mu.Lock()
	for _, b := range s.sandboxes {
		if b.record.Namespace == r.Namespace() {
			b.runner = r
			if !r.Alive() {
				lost = append(lost, b)
			}
		}
	}
	s.mu.Unlock()
	for _, b := range lost {
		s.lose(b, awayDeath)
	}
}

// reconcile makes a runner's containers and ours agree. The runner knows what happened to those that both know; what
// only we know has ended unseen; what only it knows was made by a call that nobody got an answer to, and is removed.
func (s *Supervisor) reconcile(ctx context.Context, r *fleet.Runner) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	before := s.containersIn(r) // whoever comes while the runner is asked is not missed by it
	listed, err := listRunner(ctx, r)
	if err != nil {
		return err
	}
	for id, news := range listed {
		s.mu.RLock()
		c, coming := s.containers[id], s.creating[id]
		s.mu.RUnlock()
		if coming {
			continue
		}
		if c != nil {
			s.apply(c, news)
			continue
		}
		s.cfg.Logger.Warn("container without a record removed", "container", id, "namespace", r.Namespace())
		if err := r.Call(ctx, control.MethodRemove, control.Target{ID: id}, nil); err != nil {
			return err
		}
	}
	for id, c := range before {
		if _, ok := listed[id]; !ok {
			s.apply(c, died(s.snapshot(c).Status, "the runner does not know it", s.cfg.Now()))
		}
	}
	return nil
}

func (s *Supervisor) containersIn(r *fleet.Runner) map[string]*container {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := map[string]*container{}
	for id, c := range s.containers {
		if c.sandbox.runner == r {
			all[id] = c
		}
	}
	return all
}

func listRunner(ctx context.Context, r *fleet.Runner) (map[string]control.Status, error) {
	all := map[string]control.Status{}
	for after := ""; ; {
		var page control.ListResult
		if err := r.Call(ctx, control.MethodList, control.ListParams{After: after}, &page); err != nil {
			return nil, fmt.Errorf("list containers of runner: %w", err)
		}
		for _, c := range page.Containers {
			all[c.ID] = c
			after = c.ID
		}
		if !page.More || len(page.Containers) == 0 {
			return all, nil
		}
	}
}

// onStatus takes over what a runner tells.
func (s *Supervisor) onStatus(r *fleet.Runner, news control.Status) {
	s.mu.RLock()
	c := s.containers[news.ID]
	known := c != nil && c.sandbox.runner == r
	s.mu.RUnlock()
	if known {
		s.apply(c, news)
	}
}

// onReconnect asks what events may have been missed.
func (s *Supervisor) onReconnect(r *fleet.Runner) {
	if err := s.reconcile(context.Background(), r); err != nil {
		s.cfg.Logger.Error("runner not listed", "namespace", r.Namespace(), "error", err)
	}
}
