package eviction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// interval is how often is looked, and busyInterval the same while something is short.
	interval     = 10 * time.Second
	busyInterval = 2 * time.Second
	// DefaultTransition is kubelet's.
	DefaultTransition = 5 * time.Minute
	// patience is how long the end of an evicted pod is waited for before another is ended.
	patience = 30 * time.Second
)

// Config says what a monitor looks at and how it acts.
type Config struct {
	// Thresholds are what has to be free; none: nothing is ever evicted.
	Thresholds []Threshold
	// Transition is how long a condition goes on after what was short no longer is; DefaultTransition.
	Transition time.Duration
	// MaxGrace is what a pod that is evicted for a soft threshold gets to end at the most; negative: what it asks for.
	MaxGrace time.Duration
	// Observe looks at the machine. It has to be cheap: it is asked every ten seconds.
	Observe func(ctx context.Context) (Observed, error)
	// Reclaim frees disk that no pod needs: images that nothing runs.
	Reclaim func(ctx context.Context) error
	// Pods are those that could be ended and are not ending yet, with what they take of what the signal is about: asked
	// only when one has to be.
	Pods func(ctx context.Context, s Signal) ([]Candidate, error)
	// Evict has a pod end with the message, within the grace or what the pod asks for, if that is less. A negative one
	// does not count.
	Evict func(uid types.UID, message string, grace time.Duration)
	// Evicted hears what an eviction was for, to count it; nil: nobody does.
	Evicted func(Signal)
	// Ended tells whether an evicted pod holds nothing any more.
	Ended func(uid types.UID) bool
	// Reclaiming hears of what a threshold that was crossed is about, once each time, before anything is done; nil: nobody.
	Reclaiming func(resource string)
	// Changed is called when a condition has come or gone.
	Changed func()
	Logger  *slog.Logger
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	if c.Observe == nil || c.Reclaim == nil || c.Pods == nil || c.Evict == nil || c.Ended == nil || c.Changed == nil || c.Logger == nil {
		return errors.New("eviction needs something to look at, to act on and to log to")
	}
	if c.Transition < 0 {
		return fmt.Errorf("eviction pressure transition period %v: want none that is negative", c.Transition)
	}
	return nil
}

// Monitor watches over one node.
type Monitor struct {
	cfg Config

	mu   sync.Mutex
	held map[corev1.NodeConditionType]time.Time // when what was short last was

	since     map[watch]time.Time // when what is crossed came to be
	helpless  bool                // it was said that no pod is left to evict
	announced []string            // what was said to be reclaimed
	evicting  types.UID           // whose end is waited for
	soft      bool                // it was evicted for a soft threshold
	until     time.Time           // for how long
}

// New makes a monitor.
func New(cfg Config) (*Monitor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Transition = cmp.Or(cfg.Transition, DefaultTransition)
	return &Monitor{cfg: cfg, held: map[corev1.NodeConditionType]time.Time{}}, nil
}

// Holds tells whether the node is under that pressure.
func (m *Monitor) Holds(kind corev1.NodeConditionType) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, holds := m.held[kind]
	return holds
}

// Run watches until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	if len(m.cfg.Thresholds) == 0 {
		return nil
	}
	for {
		wait := interval
		if m.turn(ctx) {
			wait = busyInterval
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// turn looks once and acts; it tells whether something is short.
func (m *Monitor) turn(ctx context.Context) bool {
	seen, err := m.cfg.Observe(ctx)
	if err != nil {
		m.warn(ctx, "node was not looked at for what is short", err)
		return false
	}
	crossed := m.crossed(seen)
	m.note(crossed, time.Now())
	due := m.due(crossed, time.Now())
	if len(due) == 0 {
		m.evicting, m.helpless, m.announced = "", false, nil
		return len(crossed) > 0
	}
	if m.waits(time.Now(), due) {
		return true
	}
	m.announce(due)
	if onDisk(due) {
		if err := m.cfg.Reclaim(ctx); err != nil {
			m.warn(ctx, "disk was not freed of what nothing needs", err)
		}
		if seen, err = m.cfg.Observe(ctx); err == nil {
			due = m.due(m.crossed(seen), time.Now())
		}
	}
	if len(due) > 0 {
		m.evict(ctx, due[0], seen[due[0].Signal])
	}
	return true
}

// crossed are the thresholds below which something is, in the signals' order, hard ones before soft ones.
func (m *Monitor) crossed(seen Observed) []Threshold {
	var out []Threshold
	for _, soft := range []bool{false, true} {
		for _, s := range signals {
			for _, t := range m.cfg.Thresholds {
				if now, ok := seen[s]; ok && t.Signal == s && t.Soft == soft && now.Available < m.enough(t, now.Capacity) {
					out = append(out, t)
				}
			}
		}
	}
	return out
}

func onDisk(crossed []Threshold) bool {
	return slices.ContainsFunc(crossed, func(t Threshold) bool { return conditions[t.Signal] == corev1.NodeDiskPressure })
}

// note brings the conditions up to date.
func (m *Monitor) note(crossed []Threshold, now time.Time) {
	changed := false
	m.mu.Lock()
	for _, t := range crossed {
		if _, holds := m.held[conditions[t.Signal]]; !holds {
			m.cfg.Logger.Warn("node is short of something", "threshold", t.String())
			changed = true
		}
		m.held[conditions[t.Signal]] = now
	}
	for kind, last := range m.held {
		if now.Sub(last) >= m.cfg.Transition {
			delete(m.held, kind)
			changed = true
		}
	}
	m.mu.Unlock()
	if changed {
		m.cfg.Changed()
	}
}

// waits tells whether the pod that was evicted last may still be giving back what it took. A hard threshold does not wait
// for a pod that takes its time.
func (m *Monitor) waits(now time.Time, due []Threshold) bool {
	if m.evicting == "" {
		return false
	}
	if m.cfg.Ended(m.evicting) || !now.Before(m.until) || m.soft && !due[0].Soft {
		m.evicting = ""
		return false
	}
	return true
}

// hardGrace is what a pod has to end that is evicted for a hard threshold: the node is running out of something while it
// does.
const hardGrace = time.Second

// evict ends the pod that is first for it.
func (m *Monitor) evict(ctx context.Context, t Threshold, seen Amount) {
	pods, err := m.cfg.Pods(ctx, t.Signal)
	if err != nil {
		m.warn(ctx, "pods were not looked at for one to evict", err)
		return
	}
	ranked := Rank(pods, t.Signal)
	if len(ranked) == 0 {
		if !m.helpless { // once, and not every two seconds
			m.cfg.Logger.Warn("no pod can be evicted", "threshold", t.String(), "available", seen.Available)
		}
		m.helpless = true
		return
	}
	m.helpless = false
	first := ranked[0]
	grace, wait := hardGrace, patience
	if t.Soft {
		grace = m.cfg.MaxGrace
		wait += first.Grace
		if grace >= 0 {
			wait = patience + min(grace, first.Grace)
		}
	}
	m.cfg.Logger.Warn("evicting a pod", "pod", first.Name, "threshold", t.String(), "soft", t.Soft, "available", seen.Available)
	m.evicting, m.soft, m.until = first.UID, t.Soft, time.Now().Add(wait)
	m.cfg.Evict(first.UID, message(t, seen, &first), grace)
	if m.cfg.Evicted != nil {
		m.cfg.Evicted(t.Signal)
	}
}

// announce says once what is about to be reclaimed.
func (m *Monitor) announce(due []Threshold) {
	if name := resources[due[0].Signal]; m.cfg.Reclaiming != nil && !slices.Contains(m.announced, name) {
		m.announced = append(m.announced, name)
		m.cfg.Reclaiming(name)
	}
}

func (m *Monitor) warn(ctx context.Context, text string, err error) {
	if ctx.Err() == nil {
		m.cfg.Logger.Warn(text, "error", err)
	}
}
