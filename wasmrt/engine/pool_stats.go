package engine

import (
	"maps"
	"sync/atomic"
	"time"
)

// poolCounters are added to without the pool's lock.
type poolCounters struct {
	clones, resets, fresh, reuses, calls atomic.Uint64
	fuel                                 atomic.Uint64
	cpu, clone, reset, guest, fallback   atomic.Int64 // nanoseconds
}

func (c *poolCounters) call(u Usage, took time.Duration) {
	c.calls.Add(1)
	c.fuel.Add(u.Fuel)
	c.cpu.Add(int64(u.CPU))
	c.guest.Add(int64(took))
}

// Stats tells what the pool has done.
func (p *Pool) Stats() PoolStats {
	c := &p.stats
	s := PoolStats{
		Clones: c.clones.Load(), Resets: c.resets.Load(), Fresh: c.fresh.Load(), Reuses: c.reuses.Load(), Calls: c.calls.Load(),
		Fuel: c.fuel.Load(), CPUTime: time.Duration(c.cpu.Load()), CloneTime: time.Duration(c.clone.Load()),
		ResetTime: time.Duration(c.reset.Load()), GuestTime: time.Duration(c.guest.Load()), FallbackTime: time.Duration(c.fallback.Load()),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Discards = make(map[string]uint64, len(p.discards))
	maps.Copy(s.Discards, p.discards)
	s.NoSnapshot, s.Reseeded = p.refused, p.found
	s.IdleInstances, s.BusyInstances = len(p.idle), p.busy
	for _, in := range p.idle {
		s.ResidentBytes += in.resident()
	}
	if p.snapshot != nil && p.snapshot.image != nil {
		s.SnapshotBytes = p.snapshot.image.resident()
	}
	return s
}

// resident is the private memory of an idle instance: what its last reset has left, or all of it, if it was never reset.
func (in *Instance) resident() uint64 {
	switch {
	case in.memory == nil:
		return 0
	case in.snapshot == nil || in.memory.resets == 0 && in.memory.kept == 0 && in.served:
		return in.memory.size
	}
	return uint64(in.memory.kept) * uint64(osPage)
}
