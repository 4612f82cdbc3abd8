package runner

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/httpabi"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// maxMeasured bounds how many kinds of containers of one module are measured and remembered.
const maxMeasured = 64

// measurements are what starting a module's instances costs, by what distinguishes its containers.
type measurements struct {
	mu   sync.Mutex
	by   map[[sha256.Size]byte]*measurement
	some *measurement // any of them, for what is over the bound
}

// measurement is what was found out for containers that start alike.
type measurement struct {
	mu       sync.Mutex
	cold     control.ColdStart
	snapshot string
	first    bool // a first request was timed
}

// snapshotted is how it is told that instances are clones. Otherwise the reason is told why they cannot be.
const snapshotted = "yes"

// measureKey is equal for containers that start alike: replicas differ in ids and in where their volumes lie.
func measureKey(p *control.CreateParams, memoryLimit uint64) ([sha256.Size]byte, error) {
	guestPaths := make([]string, 0, len(p.Mounts))
	for _, m := range p.Mounts {
		guestPaths = append(guestPaths, m.GuestPath)
	}
	raw, err := json.Marshal([]any{p.Isolation, p.HTTP, p.Args, p.Env, guestPaths, memoryLimit, p.CallDepth, p.MaxFiles})
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("measure cold start: %w", err)
	}
	return sha256.Sum256(raw), nil
}

// measure finds out, once for all containers alike, what a request waits that finds no instance. It says at the same time
// whether the guest can be initialised at all; only a success is kept.
func (c *container) measure(ctx context.Context, config httpabi.Config) error {
	key, err := measureKey(c.params, config.Spec.MemoryLimit)
	if err != nil {
		return err
	}
	all := &c.template.measured
	all.mu.Lock()
	defer all.mu.Unlock()
	m := all.by[key]
	if m == nil && len(all.by) >= maxMeasured {
		m = all.some
	}
	if m == nil {
		m = &measurement{}
		if err := m.take(ctx, config); err != nil {
			return fmt.Errorf("initialise guest: %w", err)
		}
		m.cold.CompileMicros = c.template.CompileTime().Microseconds()
		if m.cold.FirstRequestMicros > 0 {
			m.cold.FirstRequestMicros += m.cold.CompileMicros
		}
		if all.by == nil {
			all.by = map[[sha256.Size]byte]*measurement{}
		}
		all.by[key], all.some = m, m
	}
	m.mu.Lock()
	cold, snapshot := m.cold, m.snapshot
	m.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.measured = m
	c.status.ColdStart, c.status.Snapshot = cold, snapshot
	c.status.ColdStartMicros = cold.SnapshotMicros + cold.CloneP50Micros
	return nil
}

// take measures with a handler that is made for nothing else.
func (m *measurement) take(ctx context.Context, config httpabi.Config) (err error) {
	h, err := httpabi.NewHandler(config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	took, err := h.Measure(ctx)
	if err != nil {
		return err
	}
	m.snapshot = took.Reason
	if took.Snapshotted {
		m.snapshot = snapshotted
	}
	// Of programs that are run for each request there is nothing to measure before the first.
	m.cold = control.ColdStart{SnapshotMicros: took.Snapshot.Microseconds(), CloneP50Micros: took.CloneP50.Microseconds(), CloneP99Micros: took.CloneP99.Microseconds()}
	// Until there was a first request, what it will wait before its guest runs.
	m.cold.FirstRequestMicros = m.cold.SnapshotMicros + m.cold.CloneP50Micros
	return nil
}

// answered times the first request that any container of the kind was asked, and tells it.
func (c *container) answered(took time.Duration) {
	c.mu.Lock()
	m := c.measured
	c.mu.Unlock()
	if m == nil {
		return
	}
	m.mu.Lock()
	if m.first {
		m.mu.Unlock()
		return
	}
	m.first = true
	m.cold.FirstRequestMicros = max(1, took.Microseconds())
	cold := m.cold
	m.mu.Unlock()
	c.mu.Lock()
	c.status.ColdStart = cold
	if c.status.ColdStartMicros == 0 {
		c.status.ColdStartMicros = cold.FirstRequestMicros
	}
	status := c.changed()
	c.mu.Unlock()
	if status.State == control.StateRunning {
		c.publish(status)
	}
}
