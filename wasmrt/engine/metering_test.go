package engine

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// reactorOf is a reactor with one handler that imports functions of WASI, by their place.
func reactorOf(body []byte, imports ...string) []byte {
	m := moduletest.CommandWith(body, imports...)
	m.Funcs[0].Name = module.HandleExport
	return moduletest.Build(m)
}

// Whatever a guest spends its time with, it ends by its context and by its processor time.
func TestSpinsEnd(t *testing.T) {
	loop := func(body ...byte) []byte { return append(append([]byte{0x03, 0x40}, body...), 0x0c, 0x00, 0x0b) }
	call := append(moduletest.Call(0), 0x1a)
	tests := []struct {
		name string
		wasm []byte
	}{
		{"a tight loop", reactorOf(moduletest.Loop)},
		{"host calls", reactorOf(loop(call...), "sched_yield")},
		{"refused growth", reactorOf(loop(0x41, 0xff, 0xff, 0x03, 0x40, 0x00, 0x1a))},
		{"bulk memory", reactorOf(loop(moduletest.Then(moduletest.Const(0), moduletest.Const(1), moduletest.Const(65536), []byte{0xfc, 11, 0})...))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tmpl := load(t, newEngine(t), tt.wasm)
			p := newPool(t, tmpl, PoolConfig{Spec: Spec{CPUTime: 30 * time.Millisecond}})
			in := get(t, p)
			err := in.Call(t.Context(), module.HandleExport)
			var cpu *CPUTimeError
			if !errors.As(err, &cpu) || cpu.Limit != 30*time.Millisecond || cpu.Function != module.HandleExport {
				t.Errorf("%v, want the processor time", err)
			}
			if u := in.Usage(); u.CPU < 30*time.Millisecond || u.Fuel == 0 || u.MemoryBytes != module.PageSize {
				t.Errorf("usage %+v", u)
			}
			put(t, p, in)

			p = newPool(t, tmpl, PoolConfig{})
			in = get(t, p)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			var killed *KilledError
			if err := in.Call(ctx, module.HandleExport); !errors.As(err, &killed) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want the deadline", err)
			}
			put(t, p, in)
		})
	}
}

// A limit under a slice holds too.
func TestShortCPUTime(t *testing.T) {
	tmpl := load(t, newEngine(t), reactorOf(moduletest.Loop))
	p := newPool(t, tmpl, PoolConfig{Spec: Spec{CPUTime: 50 * time.Microsecond}})
	least := time.Hour // the kernel may charge a single run with what it did meanwhile
	for range 20 {
		in := get(t, p)
		var cpu *CPUTimeError
		if err := in.Call(t.Context(), module.HandleExport); !errors.As(err, &cpu) {
			t.Fatal(err)
		}
		least = min(least, in.Usage().CPU)
		put(t, p, in)
	}
	if least > 2*time.Millisecond {
		t.Errorf("it took %s", least)
	}
}

func TestCallDepth(t *testing.T) {
	m := moduletest.CommandWith(moduletest.Call(0))
	m.Funcs[0].Name = module.HandleExport
	m.Funcs[0].Body = moduletest.Call(1)
	m.Funcs = append(m.Funcs, moduletest.Func{Name: "again", Body: moduletest.Call(1)})
	p := newPool(t, load(t, newEngine(t), moduletest.Build(m)), PoolConfig{Spec: Spec{CallDepth: 100}})
	in := get(t, p)
	var trap *TrapError
	if err := in.Call(t.Context(), module.HandleExport); !errors.As(err, &trap) || trap.Reason != "call depth exceeded" || trap.Function != "again" {
		t.Errorf("%v", err)
	}
	put(t, p, in)

	tmpl := hunterTemplate(t)
	deep := newPool(t, tmpl, PoolConfig{WarmUp: warmUp})
	in = get(t, deep)
	if n := ask(t, in, "deep", 3000); n != 3000 {
		t.Errorf("deep gave %d", n)
	}
	err := in.CallValues(t.Context(), "deep", []uint64{10_000_000})
	var memory *MemoryError
	if !errors.As(err, &trap) && !errors.As(err, &memory) {
		t.Errorf("endless recursion: %v", err)
	}
	put(t, deep, in)
}

// A sleep gives the processor back, and ends at the deadline.
func TestWaitsGiveTheProcessorBack(t *testing.T) {
	e, err := New(t.Context(), Config{MaxRunning: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	sleep := load(t, e, moduletest.Sleep(3_600_000))
	quick := load(t, e, reactorOf(nil))
	ctx, wake := context.WithCancel(t.Context())
	defer wake()
	done := make(chan error, 1)
	go func() {
		_, err := sleep.Run(ctx, Spec{})
		done <- err
	}()
	time.Sleep(50 * time.Millisecond) // it has the place by then, or takes it between two of the quick one's calls
	p := newPool(t, quick, PoolConfig{})
	for range 20 {
		in := get(t, p)
		bounded, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := in.Call(bounded, module.HandleExport); err != nil {
			t.Fatalf("beside a sleeping guest: %v", err)
		}
		cancel()
		put(t, p, in)
	}
	select {
	case err := <-done:
		t.Errorf("the sleeping guest has ended: %v", err)
	default:
	}
	wake()
	var killed *KilledError
	if err := <-done; !errors.As(err, &killed) {
		t.Errorf("%v, want a kill", err)
	}
}

// With one place, guests that loop and guests that do not share it: nobody starves.
func TestLoopsShareThePlace(t *testing.T) {
	e, err := New(t.Context(), Config{MaxRunning: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	looping, quick := load(t, e, reactorOf(moduletest.Loop)), load(t, e, reactorOf(nil))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	lp := newPool(t, looping, PoolConfig{})
	fuel := make(chan uint64, 3)
	for range 3 {
		wg.Go(func() {
			in, err := lp.Get(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			_ = in.Call(ctx, module.HandleExport)
			fuel <- in.Usage().Fuel
			if err := lp.Put(in); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	p := newPool(t, quick, PoolConfig{})
	var slowest time.Duration
	for range 100 {
		start := time.Now()
		in := get(t, p)
		if err := in.Call(t.Context(), module.HandleExport); err != nil {
			t.Fatal(err)
		}
		put(t, p, in)
		slowest = max(slowest, time.Since(start))
	}
	cancel()
	wg.Wait()
	if slowest > 20*time.Second {
		t.Errorf("a request beside loops took %s", slowest)
	}
	for range 3 {
		if n := <-fuel; n == 0 {
			t.Error("one of the loops has never run")
		}
	}
	if e.gate.running.Load() != 0 || e.gate.waiting.Load() != 0 {
		t.Errorf("%d places are taken, %d wait", e.gate.running.Load(), e.gate.waiting.Load())
	}
}

func TestFuelIsCounted(t *testing.T) {
	p := newPool(t, hunterTemplate(t), PoolConfig{WarmUp: warmUp})
	in := get(t, p)
	var last Usage
	for i, n := range []uint64{1, 100, 2000} {
		ask(t, in, "scribble", n)
		u := in.Usage()
		if i > 0 && (u.Fuel <= last.Fuel || u.CPU <= last.CPU) {
			t.Errorf("%d times: %+v after %+v", n, u, last)
		}
		last = u
	}
	put(t, p, in)
	if s := p.Stats(); s.Calls != 3 || s.Fuel < last.Fuel || s.CPUTime < last.CPU || s.GuestTime <= 0 || s.ResetTime <= 0 || s.CloneTime <= 0 {
		t.Errorf("%+v", s)
	}
}

// What a run takes can be read while it goes on, and is the whole when it has ended.
func TestProgress(t *testing.T) {
	var told Progress
	m := moduletest.CommandWith(moduletest.Loop)
	tmpl := load(t, newEngine(t), moduletest.Build(m))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := tmpl.Run(ctx, Spec{Progress: &told})
		done <- err
	}()
	var last Usage
	for range 3 {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			if u := told.Usage(); u.Fuel > last.Fuel && u.CPU > last.CPU && u.MemoryBytes == module.PageSize {
				last = u
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%+v does not grow", last)
			}
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("the loop was not ended")
	}
	if u := told.Usage(); u.Fuel < last.Fuel || u.CPU < last.CPU {
		t.Errorf("%+v is less than %+v", u, last)
	}
}

// What a run has taken until it waits can be read while it waits, however little that is.
func TestProgressOfOneThatWaits(t *testing.T) {
	var told Progress
	tmpl := load(t, newEngine(t), moduletest.Sleep(3_600_000))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := tmpl.Run(ctx, Spec{Progress: &told})
		done <- err
	}()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if u := told.Usage(); u.Fuel > 0 && u.CPU > 0 && u.MemoryBytes == module.PageSize {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("it is told to have taken %+v", told.Usage())
			break
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("the sleep was not ended")
	}
}
