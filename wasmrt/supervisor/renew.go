package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/petrelrun/petrel/steering"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
)

const (
	// renewGrace is what requests get to finish in a runner that was replaced.
	renewGrace = 30 * time.Second
	// renewRetryMin and renewRetryMax bound the pause before a runner of an earlier version is tried to be replaced again.
	renewRetryMin = time.Second
	renewRetryMax = 5 * time.Minute
	// renewTimeout bounds taking over one namespace.
	renewTimeout = 5 * time.Minute
)

// errInUse says that something is being done with a namespace's containers.
var errInUse = errors.New("its containers are being changed")

// steadies are locks that calls for containers share, and whoever moves them to another runner has alone. They are only
// tried to be had alone, so that nobody waits behind who waits.
type steadies struct {
	mu sync.Mutex
	of map[string]*sync.RWMutex
}

func (l *steadies) lock(namespace string) *sync.RWMutex {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[string]*sync.RWMutex{}
	}
	m := l.of[namespace]
	if m == nil {
		m = &sync.RWMutex{}
		l.of[namespace] = m
	}
	return m
}

// steady keeps a namespace's containers in their runner until what it answers is called.
func (s *Supervisor) steady(namespace string) (done func()) {
	m := s.steadies.lock(namespace)
	m.RLock()
	return m.RUnlock
}

// renewAll replaces the runners of earlier versions, until there are none or ctx ends. Connections have to be steered: then
// they go to the new runner from one to the next, and nobody is refused.
func (s *Supervisor) renewAll(ctx context.Context) {
	told := map[string]string{}
	for pause := renewRetryMin; ; pause = min(2*pause, renewRetryMax) {
		left := 0
		for _, r := range s.fleet.All() {
			if r.Version() == s.cfg.Version {
				continue
			}
			err := s.renew(ctx, r.Namespace())
			if err == nil || ctx.Err() != nil {
				continue
			}
			left++
			if told[r.Namespace()] != err.Error() {
				told[r.Namespace()] = err.Error()
				s.cfg.Logger.Info("runner of an earlier version stays for now", "namespace", r.Namespace(), "version", r.Version(), "reason", err)
			}
		}
		if left == 0 {
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// renew replaces the runner of a namespace.
func (s *Supervisor) renew(ctx context.Context, namespace string) error {
	m := s.steadies.lock(namespace)
	if !m.TryLock() {
		return errInUse
	}
	defer m.Unlock()
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	return s.fleet.Renew(ctx, namespace, renewGrace, s.move)
}

// moved is a container that the new runner has.
type moved struct {
	*container
	news control.Status
}

// move has a runner take over all of another's containers.
func (s *Supervisor) move(ctx context.Context, from, to *fleet.Runner) error {
	all, err := exportAll(ctx, from)
	if err != nil {
		return err
	}
	for _, e := range all {
		if !e.Movable {
			return fmt.Errorf("container %s does not serve requests: what it does would be lost", e.Params.ID)
		}
	}
	var list []moved
	for i := range all {
		s.mu.RLock()
		c := s.containers[all[i].Params.ID]
		s.mu.RUnlock()
		if c == nil {
			continue
		}
		m := moved{container: c}
		if err := s.remake(ctx, to, &all[i], &m.news); err != nil {
			return fmt.Errorf("container %s: %w", all[i].Params.ID, err)
		}
		list = append(list, m)
	}
	return s.switchTo(ctx, from, to, list)
}

// exportAll asks a runner how its containers would have to be made. One of an earlier version may not know.
func exportAll(ctx context.Context, r *fleet.Runner) ([]control.Exported, error) {
	var all []control.Exported
	for after, more := "", true; more; {
		var page control.ExportResult
		if err := r.Call(ctx, control.MethodExport, control.ListParams{After: after}, &page); err != nil {
			return nil, fmt.Errorf("export containers: %w", err)
		}
		all = append(all, page.Containers...)
		more, after = page.More && page.Last != "", page.Last
	}
	return all, nil
}

// remake makes a container in another runner, where it listens at the shared sockets alone.
func (s *Supervisor) remake(ctx context.Context, to *fleet.Runner, e *control.Exported, news *control.Status) error {
	if err := s.make(ctx, to, &e.Params, news); err != nil || !e.Running {
		return err
	}
	var started control.StartResult
	if err := to.Call(ctx, control.MethodStart, control.StartParams{ID: e.Params.ID, Shared: true}, &started); err != nil {
		return err
	}
	if len(started.Addresses) == 0 {
		return errors.New("it takes sockets of its own")
	}
	*news = started.Status
	return nil
}

// switchTo steers connections to the new runner, and makes it the containers' one.
func (s *Supervisor) switchTo(ctx context.Context, from, to *fleet.Runner, list []moved) error {
	t := s.steering
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client == nil {
		return steering.ErrClosed
	}
	err := eachPage(ctx, to, func(page *control.SharedResult) error { return s.namePage(ctx, t.client, page) })
	if err != nil {
		_ = t.client.Close() // whoever connects next says anew what there is: what the former runner has
		return err
	}
	s.mu.Lock()
	for _, b := range s.sandboxes {
		if b.runner == from {
			b.runner = to
		}
	}
	for i := range list {
		old := &list[i].record.Status
		list[i].news.CreatedAt, list[i].news.StartedAt = old.CreatedAt, old.StartedAt
		old.Revision = 0 // it counts its own
	}
	s.mu.Unlock()
	for _, m := range list {
		s.apply(m.container, m.news)
	}
	return nil
}
