package probe

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// maxChecks bounds the checks under way on the whole machine; the rest wait their turn.
const maxChecks = 64

// Report is the result of one check.
type Report struct {
	Kind Kind
	// Err is nil for a check that went well.
	Err error
	// Unknown says that the check could not be made, for which Err is the reason: it counts neither way.
	Unknown bool
	// Changed says that with this check the probe's verdict turned to what Err says.
	Changed bool
}

// Prober runs probes with one Checker.
type Prober struct {
	checker Checker
	slots   chan struct{}
}

// NewProber makes a prober.
func NewProber(checker Checker) *Prober {
	return &Prober{checker: checker, slots: make(chan struct{}, maxChecks)}
}

// Watch is the probing of one instance of a container.
type Watch struct {
	prober  *Prober
	target  Target
	started time.Time
	report  func(Report)
	ctx     context.Context
	cancel  context.CancelFunc

	mu      sync.Mutex
	stopped bool
	timers  []*time.Timer
	running sync.WaitGroup
}

// Needed reports whether the container has any probe.
func Needed(c *corev1.Container) bool {
	return c.StartupProbe != nil || c.ReadinessProbe != nil || c.LivenessProbe != nil
}

// Watch probes a container that runs since started, until Stop. report is called from timers' goroutines; it must not
// call Stop.
func (p *Prober) Watch(t Target, started time.Time, report func(Report)) *Watch {
	w := &Watch{prober: p, target: t, started: started, report: report}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	if t.Container.StartupProbe != nil {
		w.begin(Startup, t.Container.StartupProbe)
		return w
	}
	w.rest()
	return w
}

// rest begins the probes that wait for the startup probe.
func (w *Watch) rest() {
	if w.target.Container.ReadinessProbe != nil {
		w.begin(Readiness, w.target.Container.ReadinessProbe)
	}
	if w.target.Container.LivenessProbe != nil {
		w.begin(Liveness, w.target.Container.LivenessProbe)
	}
}

// Stop ends the probing; checks under way are cancelled and waited for.
func (w *Watch) Stop() {
	w.mu.Lock()
	w.stopped = true
	for _, t := range w.timers {
		t.Stop()
	}
	w.mu.Unlock()
	w.cancel()
	w.running.Wait()
}

// ticking is one probe of a watch.
type ticking struct {
	watch *Watch
	kind  Kind
	probe *corev1.Probe
	set   settings
	tally tally
	timer *time.Timer
}

func (w *Watch) begin(kind Kind, spec *corev1.Probe) {
	t := &ticking{watch: w, kind: kind, probe: spec, set: settingsOf(spec)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	t.timer = time.AfterFunc(max(0, time.Until(w.started.Add(t.set.delay))), t.tick)
	w.timers = append(w.timers, t.timer)
}

// tick makes one check and sets the timer for the next.
func (t *ticking) tick() {
	w := t.watch
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return
	}
	w.running.Add(1)
	w.mu.Unlock()
	defer w.running.Done()

	began := time.Now()
	err, ok := t.check()
	if !ok {
		return
	}
	var not unknown
	report := Report{Kind: t.kind, Err: err, Unknown: errors.As(err, &not)}
	report.Changed = !report.Unknown && t.tally.add(err == nil, t.set)
	w.report(report)
	if t.kind == Startup && report.Changed && err == nil {
		w.rest()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		t.timer.Reset(max(0, time.Until(began.Add(t.set.period))))
	}
}

// check is false when the watch was stopped meanwhile.
func (t *ticking) check() (error, bool) {
	w := t.watch
	select {
	case w.prober.slots <- struct{}{}:
	case <-w.ctx.Done():
		return nil, false
	}
	defer func() { <-w.prober.slots }()
	ctx, cancel := context.WithTimeout(w.ctx, t.set.timeout)
	defer cancel()
	err := w.prober.checker.Check(ctx, w.target, t.probe)
	return err, w.ctx.Err() == nil
}
