package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// second is behind the key of a runner that took another's place: both are there for a while.
const second = "-2"

// ErrBusy says that a runner cannot be replaced yet: the one that it replaced itself has not ended.
var ErrBusy = errors.New("the runner before it has not ended yet")

// keyFor answers a key that no runner of the namespace has.
func (s *slot) keyFor(namespace string, taken ...string) string {
	key := Key(namespace)
	if s.past != "" {
		taken = append(taken, s.past)
	}
	if slices.Contains(taken, key) {
		return key + second
	}
	return key
}

// Version is what the runner said of itself when it greeted.
func (r *Runner) Version() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.client.Hello().Version
}

// Key names it on disk, and its group.
func (r *Runner) Key() string { return r.record.Key }

// Renew puts a new runner in the place of the namespace's. Move has it take over all that there is: when it fails, all stays
// as it was. The former one ends when what it serves has, at the latest after the grace.
func (f *Fleet) Renew(ctx context.Context, namespace string, grace time.Duration, move func(ctx context.Context, from, to *Runner) error) error {
	s, err := f.slot(namespace)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.runner
	if from == nil || !from.Alive() {
		return nil // the next one is new
	}
	if s.past != "" {
		return ErrBusy
	}
	to, err := f.start(ctx, namespace, s.keyFor(namespace, from.Key()), state.StageNext)
	if err != nil {
		return fmt.Errorf("renew runner of namespace %s: %w", namespace, err)
	}
	if err := move(ctx, from, to); err != nil {
		return errors.Join(fmt.Errorf("renew runner of namespace %s: %w", namespace, err), f.discard(ctx, to))
	}
	f.promote(from, to)
	if err := f.watch(s, to); err != nil {
		return err // we are ending: who comes next finds it
	}
	f.retire(s, from, grace)
	return nil
}

// discard ends a runner that nobody needs.
func (f *Fleet) discard(ctx context.Context, r *Runner) error {
	r.process.kill()
	r.process.wait(context.WithoutCancel(ctx), f.cfg.Timing.Greet)
	_ = r.client.Close()
	r.process.close()
	return errors.Join(f.cfg.Store.RemoveRunner(r.record.Key), r.leaveGroup())
}

// promote writes down which runner is the namespace's. Should we die between the two, the newer is.
func (f *Fleet) promote(from, to *Runner) {
	to.record.Stage, from.record.Stage = "", state.StagePast
	for _, r := range []*Runner{to, from} {
		if err := f.cfg.Store.SaveRunner(r.record); err != nil {
			f.cfg.Logger.Error("runner's record not saved", "namespace", r.Namespace(), "error", err)
		}
	}
	from.mu.Lock()
	from.ending = true
	from.mu.Unlock()
	f.cfg.Logger.Info("runner replaced", "namespace", to.Namespace(), "pid", from.PID(), "by", to.PID())
}

// retire ends a runner whose place is another's. The slot's mutex is held.
func (f *Fleet) retire(s *slot, r *Runner, grace time.Duration) {
	s.past = r.Key()
	f.background(func() {
		r.mu.Lock()
		client := r.client
		r.mu.Unlock()
		askToEnd(f.ctx, client, grace)
		select {
		case <-r.gone:
		case <-time.After(slack):
			r.process.kill()
			<-r.gone
		case <-f.ctx.Done():
			return
		}
		f.buried(s, r.Key())
	})
}

func (f *Fleet) buried(s *slot, key string) {
	if err := f.cfg.Store.RemoveRunner(key); err != nil {
		f.cfg.Logger.Warn("remove runner's directory failed", "key", key, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past = ""
}

// background runs f unless the fleet is closed, which waits for it.
func (f *Fleet) background(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.wg.Go(do)
	}
}

// Finish ends the runner of a record that is no namespace's: one that was to take another's place and did not, or one that
// was replaced, which may finish what it serves.
func (f *Fleet) Finish(ctx context.Context, record *state.Runner, grace time.Duration) error {
	if record.Stage == state.StageNext {
		return errors.Join(Stop(ctx, record, 0), f.cfg.Store.RemoveRunner(record.Key))
	}
	s, err := f.slot(record.Namespace)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past = record.Key
	f.background(func() {
		if err := Stop(f.ctx, record, grace); err != nil {
			f.cfg.Logger.Warn("replaced runner not ended", "namespace", record.Namespace, "error", err)
		}
		if f.ctx.Err() == nil {
			f.buried(s, record.Key)
		}
	})
	return nil
}

// Current tells the runners that are their namespace's from those that were replaced or did not get so far.
func Current(records []*state.Runner) (current, others []*state.Runner) {
	newest := map[string]*state.Runner{}
	for _, r := range records {
		if r.Stage != "" {
			others = append(others, r)
			continue
		}
		last := newest[r.Namespace]
		if last == nil {
			newest[r.Namespace] = r
			continue
		}
		if last.StartedAt < r.StartedAt { // who replaced it died before saying so
			newest[r.Namespace], r = r, last
		}
		r.Stage = state.StagePast
		others = append(others, r)
	}
	for _, r := range newest {
		current = append(current, r)
	}
	slices.SortFunc(current, func(a, b *state.Runner) int { return strings.Compare(a.Namespace, b.Namespace) })
	return current, others
}
