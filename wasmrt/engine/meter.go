package engine

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/tetratelabs/wazero/api"
	"golang.org/x/sys/unix"
)

const (
	// slice is how long a guest runs between two looks at its context and its neighbours. It is what Go's collector
	// and the neighbours wait for at most; looking costs half a hundredth of it.
	slice = 100 * time.Microsecond
	// minSliceFuel and maxSliceFuel bound a slice, whatever the rate seems to be.
	minSliceFuel = 50_000
	maxSliceFuel = 4_000_000
	// hostCallFuel is what calling the host costs beside what the function itself spends, so that a guest that does
	// nothing else is ended and takes turns like any other.
	hostCallFuel = 150
	// firstRate is what a unit of fuel takes until it has been measured, in picoseconds.
	firstRate = 300
	// minRate and maxRate bound what is believed of a measurement.
	minRate, maxRate = 50, 50_000
)

var (
	errCallDepth = errors.New("call depth exceeded")
	errCPUTime   = errors.New("processor time exceeded")
)

// meter counts what one call spends.
type meter struct {
	counter api.MutableGlobal // nil when the module counts nothing, and while its start section runs
	limit   time.Duration     // of processor time; 0: none
	depth   uint32            // that calls begin with

	granted  int64  // fuel of the present slice
	fuel     uint64 // spent in slices before it
	cpu      time.Duration
	threadAt int64         // the thread's processor time when the slice began; 0: not known
	wallAt   time.Duration // when it began, if threadAt is known
}

// rate is what a unit of fuel takes, in picoseconds, as the program's guests were measured.
type rate struct{ picos atomic.Int64 }

func (r *rate) get() int64 {
	if p := r.picos.Load(); p > 0 {
		return p
	}
	return firstRate
}

// learn moves the rate towards a measurement. That two do it at once and one is lost does no harm.
func (r *rate) learn(fuel uint64, took time.Duration) {
	if fuel < minSliceFuel/2 {
		return
	}
	measured := min(max(took.Nanoseconds()*1000/int64(fuel), minRate), maxRate)
	r.picos.Store((r.get()*7 + measured) / 8)
}

func (r *rate) timeOf(fuel uint64) time.Duration {
	return time.Duration(min(fuel, math.MaxInt64/maxRate) * uint64(r.get()) / 1000)
}

// epoch is what elapsed counts from.
var epoch = time.Now()

// elapsed is half as dear as time.Now, which asks for the time of day too.
func elapsed() time.Duration { return time.Since(epoch) }

// begin starts to count a call.
func (m *meter) begin(r *rate) {
	m.fuel, m.cpu, m.threadAt = 0, 0, 0
	if m.counter != nil {
		m.grant(r, m.depth)
	}
}

// grant gives the guest a slice. One that would outlast the limit is cut.
func (m *meter) grant(r *rate, depth uint32) {
	picos := r.get()
	fuel := min(max(slice.Nanoseconds()*1000/picos, minSliceFuel), maxSliceFuel)
	if m.limit > 0 {
		left := max(0, m.limit-m.cpu).Nanoseconds()
		if left < slice.Nanoseconds() {
			fuel = min(fuel, left*1000/picos+1)
		}
	}
	m.granted = fuel
	m.counter.Set(module.NewCounter(uint32(fuel), depth))
}

// settle adds up the present slice: what is left in the counter, and what the host spent beyond it.
func (m *meter) settle(r *rate, beyond uint64) {
	if m.counter == nil {
		m.fuel += beyond
		return
	}
	spent := uint64(max(0, m.granted-module.CounterFuel(m.counter.Get()))) + beyond
	m.granted = 0
	m.fuel += spent
	took := r.timeOf(spent)
	if m.threadAt != 0 {
		// A goroutine that changed threads inside a host function makes nonsense of the difference; wall time bounds it.
		if now := threadTime(); now > m.threadAt {
			took = min(time.Duration(now-m.threadAt), elapsed()-m.wallAt)
			r.learn(spent, took)
		}
		m.threadAt = 0
	}
	m.cpu += took
}

// threadTime is the processor time that this thread has had, in nanoseconds.
func threadTime() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return ts.Nano()
}

// linkMeter makes the module that instrumented guests call when their fuel or depth is used up.
func (p *program) linkMeter(ctx context.Context) error {
	if p.linked[module.MeterModule] || p.rewritten.Counter == "" {
		return nil
	}
	_, err := p.runtime.NewHostModuleBuilder(module.MeterModule).
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(yield), nil, nil).Export(module.YieldFunction).
		Instantiate(ctx)
	p.linked[module.MeterModule] = err == nil
	return err
}

// yield is what the guest calls.
func yield(ctx context.Context, m api.Module, _ []uint64) {
	in := instanceOf(ctx)
	if in.meter.counter == nil { // in a start section
		in.findCounter(m)
	}
	in.nextSlice(0)
}

func (in *Instance) findCounter(m api.Module) {
	if name := in.program.rewritten.Counter; name != "" {
		in.meter.counter, _ = m.ExportedGlobal(name).(api.MutableGlobal)
	}
}

// spend takes fuel for what the host does.
func (in *Instance) spend(units uint64) {
	m := &in.meter
	if m.counter == nil {
		in.alive()
		return
	}
	c := m.counter.Get()
	if left := module.CounterFuel(c); left > 0 && uint64(left) > units {
		m.counter.Set(c - units)
		return
	}
	in.nextSlice(units)
}

// nextSlice ends the guest if there is a reason to, lets others run, and gives it fuel.
func (in *Instance) nextSlice(beyond uint64) {
	m := &in.meter
	depth := in.meter.depth
	if m.counter != nil {
		left := module.CounterDepth(m.counter.Get())
		if left < 0 {
			panic(errCallDepth)
		}
		depth = uint32(left)
	}
	r := &in.program.rate
	fuel, cpu := m.fuel, m.cpu
	m.settle(r, beyond)
	in.progress(m.fuel-fuel, m.cpu-cpu)
	in.alive()
	if m.limit > 0 && m.cpu >= m.limit {
		panic(errCPUTime)
	}
	gate := in.program.engine.gate
	if gate.waiting.Load() > 0 {
		in.faults.drop()
	}
	if err := gate.yield(in.ctx, in.line); err != nil {
		in.placed = false
		in.interrupt()
	}
	if m.counter == nil {
		return
	}
	m.grant(r, depth)
	m.measure()
}

// measure begins to measure what the slice takes.
func (m *meter) measure() {
	m.wallAt = elapsed()
	m.threadAt = threadTime()
}

// tell adds up the slice so far for whoever wants to know, and gives the guest a new one.
func (in *Instance) tell() {
	if in.told == nil {
		return
	}
	m, r := &in.meter, &in.program.rate
	depth := m.depth
	if m.counter != nil {
		depth = uint32(max(0, module.CounterDepth(m.counter.Get())))
	}
	fuel, cpu := m.fuel, m.cpu
	m.settle(r, 0)
	in.progress(m.fuel-fuel, m.cpu-cpu)
	if m.counter != nil {
		m.grant(r, depth)
	}
}

// begin prepares a call: it takes a place among the running and gives fuel.
func (in *Instance) begin(ctx context.Context) error {
	if ctx.Err() != nil {
		return &KilledError{Cause: causeOf(ctx)}
	}
	in.ctx, in.ended, in.waited = ctx, false, false
	if err := in.program.engine.gate.enter(ctx, in.line); err != nil {
		return &KilledError{Cause: err}
	}
	in.placed = true
	in.meter.begin(&in.program.rate)
	return nil
}

// end gives the place back and adds up.
func (in *Instance) end(took time.Duration) {
	if in.placed {
		in.placed = false
		in.program.engine.gate.leave()
	}
	m := &in.meter
	fuel, cpu := m.fuel, m.cpu
	m.settle(&in.program.rate, 0)
	in.progress(m.fuel-fuel, m.cpu-cpu)
	in.usage = Usage{Fuel: m.fuel, CPU: m.cpu, MemoryBytes: in.memoryBytes()}
	if in.pool != nil {
		in.pool.stats.call(in.usage, took)
	}
}
