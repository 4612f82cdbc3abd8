package engine

import (
	"sync/atomic"
	"time"
)

// Usage is what one call took.
type Usage struct {
	// Fuel is what the guest executed, in units of about one WebAssembly instruction.
	Fuel uint64
	// CPU is the processor time of it. That of calls under a slice is estimated by what such fuel took before.
	CPU time.Duration
	// MemoryBytes is the size its memory has grown to, and what it keeps in its scratch directory.
	MemoryBytes uint64
}

// Usage tells what the last call took.
func (in *Instance) Usage() Usage { return in.usage }

// Progress sums up what calls take while they are under way, some ten thousand times a second of processor time and before
// each wait. Others may read it meanwhile.
type Progress struct {
	fuel, memory atomic.Uint64
	cpu          atomic.Int64
}

// Usage is what all instances took so far. Its memory is that of the one that was counted last.
func (p *Progress) Usage() Usage {
	return Usage{Fuel: p.fuel.Load(), CPU: time.Duration(p.cpu.Load()), MemoryBytes: p.memory.Load()}
}

// progress tells of a slice that is over.
func (in *Instance) progress(fuel uint64, cpu time.Duration) {
	p := in.told
	if p == nil {
		return
	}
	p.fuel.Add(fuel)
	p.cpu.Add(int64(cpu))
	p.memory.Store(in.memoryBytes())
}

// memoryBytes is what the guest has of memory and files in it.
func (in *Instance) memoryBytes() (n uint64) {
	if in.memory != nil {
		n = in.memory.size
	}
	if in.system != nil {
		n += uint64(in.system.ScratchBytes())
	}
	return n
}

// ColdStart is what it takes until a pool's first request can be answered, measured on this machine.
type ColdStart struct {
	Compile  time.Duration // of this template's load
	Snapshot time.Duration // initialisation, warm-up and the copy of memory
	CloneP50 time.Duration // of making an instance and throwing it away
	CloneP99 time.Duration
	// Snapshotted tells whether instances are clones; when they are not, Reason says why.
	Snapshotted bool
	Reason      string
}

// PoolStats is what a pool has done since it was made.
type PoolStats struct {
	Clones uint64 // instances made from the snapshot
	Resets uint64 // instances put back to the snapshot after a request
	Fresh  uint64 // instances started from nothing
	Reuses uint64 // instances handed on without a reset (isolation shared)
	Calls  uint64 // calls into guests between Get and Put

	// Discards counts instances that were not kept, by cause: "fresh", "trap", "exit", "kill", "cpu_time", "memory",
	// "files", "memory_grown", "idle" and their like.
	Discards map[string]uint64
	// NoSnapshot is why instances cannot be clones, once that is known; empty when they can.
	NoSnapshot string
	// Reseeded is how many random generators of the guest are given new seeds for each request.
	Reseeded int

	IdleInstances, BusyInstances int
	ResidentBytes                uint64 // private memory of the instances, as far as it is known
	SnapshotBytes                uint64 // memory of the snapshot, which its pools share

	Fuel uint64
	// Durations are sums.
	CPUTime      time.Duration
	CloneTime    time.Duration
	ResetTime    time.Duration
	GuestTime    time.Duration // wall time of calls
	FallbackTime time.Duration // of starting instances from nothing
}
