package stats

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// fresh is how long a reading answers those who ask next.
	fresh = 5 * time.Second
	// settle is what lies between two readings that are taken for a rate when there is no earlier one.
	settle = time.Second
	// forget is when a reading is too old to reckon a rate from, and is let go of.
	forget = 2 * time.Minute
)

// Config says what a collector reads.
type Config struct {
	Host Host
	// Sources are asked one after the other; the list may change between two readings.
	Sources func() []Source
	Logger  *slog.Logger
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	if c.Sources == nil || c.Logger == nil {
		return errors.New("stats need sources and a logger")
	}
	return nil
}

// Collector takes readings when it is asked.
type Collector struct {
	cfg    Config
	taking chan struct{} // held by who takes a reading

	mu     sync.Mutex
	last   *Reading
	before *baseline
	timer  *time.Timer
	closed bool
}

// baseline is what of an earlier reading rates are reckoned from.
type baseline struct {
	at         time.Time
	whole      bool // no runtime was away: a container that it lacks began later
	cpu        uint64
	containers map[string]sample
}

type sample struct {
	at    time.Time
	nanos uint64
}

// New makes a collector; it reads nothing before it is asked.
func New(cfg Config) (*Collector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Collector{cfg: cfg, taking: make(chan struct{}, 1)}, nil
}

// Read is what everything takes now, or took a moment ago. Rates need two readings: where none was taken lately, two
// are, a second apart.
func (c *Collector) Read(ctx context.Context, rates bool) (*Reading, error) {
	select {
	case c.taking <- struct{}{}:
		defer func() { <-c.taking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r := c.recent(rates); r != nil {
		return r, nil
	}
	if rates {
		if err := c.base(ctx); err != nil {
			return nil, err
		}
	}
	return c.take(ctx)
}

// base sees to it that there is an earlier reading, and that it is long enough ago.
func (c *Collector) base(ctx context.Context) error {
	if c.baseline() == nil {
		if _, err := c.take(ctx); err != nil {
			return err
		}
	}
	since := settle
	if b := c.baseline(); b != nil {
		since = time.Since(b.at)
	}
	select {
	case <-time.After(settle - since):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ReadNow is what everything takes now, for whoever acts on it: a moment ago other pods ran. It has no rates.
func (c *Collector) ReadNow(ctx context.Context) (*Reading, error) {
	select {
	case c.taking <- struct{}{}:
		defer func() { <-c.taking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return c.take(ctx)
}

// recent is the last reading while it is fresh and has what is wanted.
func (c *Collector) recent(rates bool) *Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || time.Since(c.last.Machine.Time) >= fresh || rates && c.last.Window == 0 {
		return nil
	}
	return c.last
}

// baseline is the earlier reading where it still serves.
func (c *Collector) baseline() *baseline {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.before == nil || time.Since(c.before.at) > forget {
		return nil
	}
	return c.before
}

// take reads everything and makes it the last reading.
func (c *Collector) take(ctx context.Context) (*Reading, error) {
	machine, err := c.cfg.Host.Read()
	if err != nil {
		return nil, err
	}
	r := &Reading{Machine: machine, Networks: map[string][]Interface{}}
	for _, source := range c.cfg.Sources() {
		if err := r.ask(ctx, source); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			c.cfg.Logger.Debug("runtime did not tell what its containers take", "error", err)
			if r.Failed == nil {
				r.Failed = err
			}
		}
	}
	slices.SortFunc(r.Containers, func(a, b Container) int {
		if n := strings.Compare(a.Pod.Namespace, b.Pod.Namespace); n != 0 {
			return n
		}
		if n := strings.Compare(a.Pod.Name, b.Pod.Name); n != 0 {
			return n
		}
		if n := strings.Compare(a.Pod.UID, b.Pod.UID); n != 0 {
			return n
		}
		return strings.Compare(a.Name, b.Name)
	})
	r.rate(c.baseline())
	c.keep(r)
	return r, nil
}

// ask adds what one runtime tells.
func (r *Reading) ask(ctx context.Context, source Source) error {
	err := source.Runtime.EachContainerStats(ctx, nil, func(s *runtimev1.ContainerStats) {
		if one, ok := containerOf(s); ok {
			r.Containers = append(r.Containers, one)
		}
	})
	if err != nil || !source.Networks {
		return err
	}
	sandboxes, err := source.Runtime.ListPodSandboxStats(ctx, nil)
	if err != nil {
		return nil // older runtimes do not count networks
	}
	for _, s := range sandboxes {
		if list := interfacesOf(s); len(list) > 0 {
			r.Networks[s.GetAttributes().GetLabels()[labelPodUID]] = list
		}
	}
	return nil
}

// rate fills in what was taken a second since the baseline.
func (r *Reading) rate(before *baseline) {
	if before == nil {
		return
	}
	r.Window = r.Machine.Time.Sub(before.at)
	r.NanoCores = perSecond(before.cpu, r.Machine.CPUNanos, r.Window)
	for i := range r.Containers {
		c := &r.Containers[i]
		was, known := before.containers[c.key()]
		if !known && before.whole {
			was = sample{at: before.at}
		} else if !known {
			continue
		}
		if c.CPUNanos != nil && c.Time.After(was.at) {
			c.NanoCores = perSecond(was.nanos, *c.CPUNanos, c.Time.Sub(was.at))
		}
	}
}

// perSecond is nil where it cannot be told: for a counter that began anew.
func perSecond(before, now uint64, window time.Duration) *uint64 {
	if now < before || window <= 0 {
		return nil
	}
	rate := uint64(float64(now-before) / window.Seconds())
	return &rate
}

// keep makes the reading the last one, and lets go of it in time.
func (c *Collector) keep(r *Reading) {
	next := &baseline{at: r.Machine.Time, whole: r.Failed == nil, cpu: r.Machine.CPUNanos, containers: make(map[string]sample, len(r.Containers))}
	for i := range r.Containers {
		if one := &r.Containers[i]; one.CPUNanos != nil {
			next.containers[one.key()] = sample{one.Time, *one.CPUNanos}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.last, c.before = r, next
	if c.timer == nil {
		c.timer = time.AfterFunc(forget, c.drop)
		return
	}
	c.timer.Reset(forget)
}

func (c *Collector) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.before = nil, nil
}

// Close lets go of everything.
func (c *Collector) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.last, c.before = true, nil, nil
	if c.timer != nil {
		c.timer.Stop()
	}
}
