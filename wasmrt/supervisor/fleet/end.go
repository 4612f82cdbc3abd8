package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// slack is what a runner may take to end beyond the grace of its containers.
const slack = 5 * time.Second

// Release says that no sandbox needs the namespace's runner. It ends after the linger, unless Ensure comes before.
func (f *Fleet) Release(namespace string) {
	s, err := f.slot(namespace)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runner == nil || s.linger != nil {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(f.cfg.Timing.Linger, func() {
		f.mu.Lock()
		if f.closed {
			f.mu.Unlock()
			return
		}
		f.wg.Add(1)
		f.mu.Unlock()
		defer f.wg.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.linger != timer { // it was needed again
			return
		}
		s.linger = nil
		if !f.cfg.Needed(namespace) {
			f.shutdown(f.ctx, s, 0)
		}
	})
	s.linger = timer
}

// shutdown ends the slot's runner. The slot's mutex is held.
func (f *Fleet) shutdown(ctx context.Context, s *slot, grace time.Duration) {
	r := s.runner
	s.runner = nil
	if r == nil {
		return
	}
	r.mu.Lock()
	r.ending = true
	client := r.client
	r.mu.Unlock()
	askToEnd(ctx, client, grace)
	select {
	case <-r.gone:
	case <-time.After(slack):
		r.process.kill()
		<-r.gone
	case <-ctx.Done():
		return
	}
	if err := f.cfg.Store.RemoveRunner(r.record.Key); err != nil {
		f.cfg.Logger.Warn("remove runner's directory failed", "namespace", r.Namespace(), "error", err)
	}
}

// askToEnd returns when the runner has stopped its containers or the time for it is over.
func askToEnd(ctx context.Context, client *control.Client, grace time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, grace+slack)
	defer cancel()
	// The process ends right behind its answer, which may therefore not arrive.
	_ = client.Call(ctx, control.MethodShutdown, control.ShutdownParams{Grace: grace}, nil)
}

// Shutdown ends all runners, at the same time. Containers get the grace.
func (f *Fleet) Shutdown(ctx context.Context, grace time.Duration) {
	f.mu.Lock()
	slots := make([]*slot, 0, len(f.slots))
	for _, s := range f.slots {
		slots = append(slots, s)
	}
	f.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range slots {
		wg.Go(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.keep()
			f.shutdown(ctx, s, grace)
		})
	}
	wg.Wait()
}

// Close lets all runners go. They run on, and can be adopted.
func (f *Fleet) Close() {
	f.mu.Lock()
	f.closed = true
	for _, s := range f.slots {
		if s.mu.TryLock() { // who holds it sees that the fleet is closed
			s.keep()
			s.mu.Unlock()
		}
	}
	f.mu.Unlock()
	f.cancel()
	f.wg.Wait()
}

// Stop ends a runner from outside a fleet: by its record, when no supervisor serves the root.
func Stop(ctx context.Context, record *state.Runner, grace time.Duration) error {
	p, err := find(record.PID)
	if err != nil {
		return nil // gone
	}
	defer p.close()
	if owner, err := socketOwner(record.Socket); err != nil || owner != record.PID {
		return nil // gone, and its number is a stranger's
	}
	r := &Runner{record: record}
	f := &Fleet{cfg: Config{Timing: Timing{}.withDefaults(), OnStatus: func(*Runner, control.Status) {}}}
	if err := f.connect(ctx, r); err == nil {
		askToEnd(ctx, r.client, grace)
		_ = r.client.Close()
		if p.wait(ctx, slack) {
			return nil
		}
	}
	if ctx.Err() != nil { // it was asked to, and may do so
		return ctx.Err()
	}
	p.kill()
	if !p.wait(ctx, slack) {
		return errors.Join(fmt.Errorf("stop runner %d: it does not end", record.PID), ctx.Err())
	}
	return nil
}
