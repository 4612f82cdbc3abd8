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
	by   map[[sha256.Size]byte]control.ColdStart
	some control.ColdStart // any of them, for what is over the bound
}

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
	m := &c.template.measured
	m.mu.Lock()
	defer m.mu.Unlock()
	cold, known := m.by[key]
	if !known && len(m.by) >= maxMeasured {
		cold, known = m.some, true
	}
	if !known {
		if cold, err = measureCold(ctx, config); err != nil {
			return fmt.Errorf("initialise guest: %w", err)
		}
		cold.CompileMicros = c.template.CompileTime().Microseconds()
		if m.by == nil {
			m.by = map[[sha256.Size]byte]control.ColdStart{}
		}
		m.by[key], m.some = cold, cold
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.ColdStart, c.status.ColdStartMicros = cold, cold.FirstRequestMicros
	return nil
}

// measureCold makes a handler for nothing else.
func measureCold(ctx context.Context, config httpabi.Config) (cold control.ColdStart, err error) {
	h, err := httpabi.NewHandler(config)
	if err != nil {
		return cold, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	begin := time.Now()
	took, err := h.Measure(ctx)
	if err != nil {
		return cold, err
	}
	cold.FirstRequestMicros = max(1, time.Since(begin).Microseconds())
	cold.SnapshotMicros = took.Snapshot.Microseconds()
	cold.CloneP50Micros, cold.CloneP99Micros = max(1, took.CloneP50.Microseconds()), max(1, took.CloneP99.Microseconds())
	return cold, nil
}
