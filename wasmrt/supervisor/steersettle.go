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

// steer keeps in touch with whoever steers until ctx ends. While they are away, all goes on as they left it.
func (s *Supervisor) steer(ctx context.Context) {
	t := s.steering
	defer t.wg.Wait()
	pause := steerRetryMin
	for ctx.Err() == nil {
		client, err := steering.Dial(ctx, t.path)
		if client != nil {
			if s.settleWith(ctx, client, err) {
				pause = steerRetryMin
			}
			_ = client.Close()
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, steerRetryMax)
	}
}

// startSteering begins to, where somebody may steer. What it answers ends that.
func (s *Supervisor) startSteering(ctx context.Context) (stop func()) {
	if s.steering.path == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { s.steer(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// settleWith says all that there is, and then holds the connection until it ends. False: that did not succeed.
func (s *Supervisor) settleWith(ctx context.Context, client *steering.Client, dialErr error) bool {
	t := s.steering
	var off *steering.OffError
	err := dialErr
	t.mu.Lock()
	switch {
	case err == nil:
		if err = s.nameAll(ctx, client); err == nil {
			t.client = client
			t.log.Info("connections are steered to the runners' sockets", "addresses", len(t.owner))
		}
	case errors.As(err, &off):
		t.log.Info("containers listen by themselves", "reason", off.Reason)
		err = s.eachShared(ctx, func(r *fleet.Runner, page *control.SharedResult) error { return s.listenThemselves(ctx, r, page) })
	}
	t.mu.Unlock()
	if err != nil {
		t.on.Store(false)
		t.log.Warn("what is steered is not settled; it is tried again", "error", err)
		return false
	}
	renewing, stop := context.WithCancel(ctx)
	var renewals sync.WaitGroup
	if err == nil && off == nil {
		renewals.Go(func() { s.renewAll(renewing) })
	}
	select {
	case <-client.Done():
	case <-ctx.Done():
	}
	stop()
	renewals.Wait()
	t.on.Store(false)
	t.mu.Lock()
	t.client = nil
	t.mu.Unlock()
	return true
}

// nameAll tells of every container that shares its runner's sockets. The steerage's mutex is held.
func (s *Supervisor) nameAll(ctx context.Context, client *steering.Client) error {
	err := s.eachShared(ctx, func(r *fleet.Runner, page *control.SharedResult) error {
		err := s.namePage(ctx, client, page)
		if err != nil && !errors.Is(err, steering.ErrClosed) {
			s.steering.log.Warn("connections are not steered; containers listen by themselves", "namespace", r.Namespace(), "error", err)
			return s.listenThemselves(ctx, r, page)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.steering.on.Store(true) // whoever starts from here on waits for us, and then counts on the client
	return client.Settle(ctx)
}

// namePage tells of the containers of one page. The steerage's mutex is held.
func (s *Supervisor) namePage(ctx context.Context, client *steering.Client, page *control.SharedResult) error {
	for _, listed := range page.Containers {
		s.mu.RLock()
		c := s.containers[listed.ID]
		s.mu.RUnlock()
		if c == nil || len(listed.Addresses) == 0 {
			continue
		}
		if s.steering.own(c, listed.Addresses); c.hasExited() {
			s.steering.forget(c)
			continue
		}
		page.Addresses = append(page.Addresses, listed.Addresses...)
	}
	return tell(ctx, client, page.Addresses, page.Listeners, page.Files)
}

// eachShared asks all runners who shares their sockets, page by page. One that cannot say is an error: what it has must not
// be taken for nothing.
func (s *Supervisor) eachShared(ctx context.Context, do func(r *fleet.Runner, page *control.SharedResult) error) error {
	for _, r := range s.fleet.All() {
		err := eachPage(ctx, r, func(page *control.SharedResult) error { return do(r, page) })
		if err != nil && r.Alive() {
			return fmt.Errorf("runner of namespace %s: %w", r.Namespace(), err)
		}
	}
	return nil
}

// eachPage asks one runner.
func eachPage(ctx context.Context, r *fleet.Runner, do func(page *control.SharedResult) error) error {
	for after, more := "", true; more; {
		page := control.SharedResult{}
		err := sharedPage(ctx, r, after, &page)
		if err == nil {
			err = do(&page)
		}
		control.CloseFiles(page.Files)
		if err != nil {
			return err
		}
		if more = page.More && len(page.Containers) > 0; more {
			after = page.Containers[len(page.Containers)-1].ID
		}
	}
	return nil
}

// sharedPage asks one runner. One of an earlier version has nothing to share.
func sharedPage(ctx context.Context, r *fleet.Runner, after string, into *control.SharedResult) (err error) {
	ctx, cancel := context.WithTimeout(ctx, steerTimeout)
	defer cancel()
	into.Files, err = r.Exchange(ctx, control.MethodShared, control.ListParams{After: after}, nil, into)
	var e *control.Error
	if errors.As(err, &e) && e.Code == control.CodeInvalid {
		return nil
	}
	return err
}

// listenThemselves has a page's containers listen at sockets of their own, too.
func (s *Supervisor) listenThemselves(ctx context.Context, r *fleet.Runner, page *control.SharedResult) error {
	for _, listed := range page.Containers {
		err := r.Call(ctx, control.MethodListen, control.Target{ID: listed.ID}, nil)
		var e *control.Error
		if errors.As(err, &e) && e.Code == control.CodeNotFound {
			continue // it has gone
		}
		if errors.As(err, &e) { // the others are not to suffer for it
			s.steering.log.Error("a container listens nowhere", "container", listed.ID, "error", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}
