package ebpfproxy

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestRollingUpdateUnderLoad replaces all backends one after the other, as a Deployment does: a new one comes, an old one
// drains, is stopped, and leaves. No connect may fail, and no server may be asked after it stopped.
func TestRollingUpdateUnderLoad(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{Grace: time.Millisecond})
	current := []*server{a.serve("127.0.0.2:0"), a.serve("127.0.0.2:0"), a.serve("127.0.0.2:0")}
	table := func(states ...BackendState) Service {
		svc := clusterIP("10.96.0.1:80", TCP)
		for i, s := range current {
			b := s.backend()
			if i < len(states) {
				b.State = states[i]
			}
			svc.Backends = append(svc.Backends, b)
		}
		return svc
	}
	svc := table()
	mustSync(t, p, svc)
	var stop atomic.Bool
	var connects, failures atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			connects.Add(1)
			if _, err := a.ask(svc.at()); err != nil {
				failures.Add(1)
				t.Logf("connect: %v", err)
			}
		}
	}()
	for range 30 {
		current = append(current, a.serve("127.0.0.2:0"))
		must(t, p.Update(t.Context(), []Service{table()}, nil))
		must(t, p.Update(t.Context(), []Service{table(Draining)}, nil))
		for begun := connects.Load(); connects.Load() < begun+2; { // the one that was under way is done
			time.Sleep(time.Millisecond)
		}
		old := current[0]
		current = current[1:]
		old.stop()
		must(t, p.Update(t.Context(), []Service{table()}, nil))
	}
	stop.Store(true)
	<-done
	if failures.Load() > 0 || connects.Load() < 30 {
		t.Errorf("%d of %d connects failed", failures.Load(), connects.Load())
	}
}
