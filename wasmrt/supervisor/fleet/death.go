package fleet

import (
	"fmt"
	"sync"
	"time"
)

// Death is how a runner ended that was not asked to.
type Death struct {
	How string
	// OutOfMemory says that the kernel killed it because its group's memory was used up.
	OutOfMemory bool
}

// autopsy says how the runner ended. Its process has, its group is still there.
func (r *Runner) autopsy() Death {
	d := Death{How: r.process.how()}
	if r.group != nil && r.group.OutOfMemory() > r.oomBefore {
		d.OutOfMemory = true
		d.How = "out of memory: the namespace's pods took more together than a runner may (--runner-memory)"
	}
	return d
}

// bury gives back what a runner leaves whose process has ended. It answers nil when that was asked for.
func (f *Fleet) bury(s *slot, r *Runner) *Death {
	r.mu.Lock()
	ending := r.ending
	r.mu.Unlock()
	death := r.autopsy()
	if err := r.leaveGroup(); err != nil {
		f.cfg.Logger.Warn("runner's group not removed", "namespace", r.Namespace(), "error", err)
	}
	if ending {
		f.cfg.Logger.Info("runner ended", "namespace", r.Namespace(), "pid", r.PID())
		return nil
	}
	f.cfg.Logger.Error("runner died", "namespace", r.Namespace(), "pid", r.PID(), "how", death.How)
	now := f.cfg.Now()
	s.row.died(now, now.Sub(time.Unix(0, r.record.StartedAt)), f.cfg.Timing)
	return &death
}

// deaths is a row of deaths of one namespace's runners, each soon after its start.
type deaths struct {
	mu    sync.Mutex
	count int
	until time.Time // no start before
}

// died notes a death. A runner that had settled begins a new row.
func (d *deaths) died(now time.Time, lived time.Duration, t Timing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if lived >= t.Settled {
		d.count = 0
	}
	d.count++
	pause := time.Duration(0)
	for i := 1; i < d.count && pause < t.MaxBackoff; i++ {
		pause = min(max(t.Backoff, 2*pause), t.MaxBackoff)
	}
	d.until = now.Add(pause)
}

// BackoffError says that a runner is not started yet, because those before it died.
type BackoffError struct {
	Deaths int
	Wait   time.Duration
}

func (e *BackoffError) Error() string {
	return fmt.Sprintf("the last %d runners died soon after their start; the next may start in %s", e.Deaths, e.Wait.Round(time.Millisecond))
}

// pause says how long to wait still, as an error.
func (d *deaths) pause(now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if wait := d.until.Sub(now); wait > 0 {
		return &BackoffError{Deaths: d.count, Wait: wait}
	}
	return nil
}
