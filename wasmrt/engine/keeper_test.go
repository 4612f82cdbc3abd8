package engine

import (
	"runtime"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// counting is a reactor that counts its requests in memory and in a global.
func counting() []byte {
	// i32.load 16; i32.const 1; i32.add into i32.store 16
	m := moduletest.CommandWith([]byte{0x41, 16, 0x41, 16, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0})
	m.Funcs[0].Name = module.HandleExport
	return moduletest.Build(m)
}

func serve(t testing.TB, p *Pool) {
	t.Helper()
	in := get(t, p)
	if err := in.Call(t.Context(), module.HandleExport); err != nil {
		t.Fatal(err)
	}
	put(t, p, in)
}

// What is idle is given back step by step: instances that were not needed, then the snapshot, and nothing is watched.
func TestIdleIsGivenBack(t *testing.T) {
	e := newEngine(t)
	p := newPool(t, load(t, e, counting()), PoolConfig{})
	first, second := get(t, p), get(t, p)
	put(t, p, first)
	put(t, p, second)
	s := p.snapshot
	e.keeper.tick() // both were needed since they were put back
	serve(t, p)
	e.keeper.tick() // one of them was
	if got := p.Stats(); got.IdleInstances != 1 || got.Discards["idle"] != 1 {
		t.Fatalf("%+v, want one idle instance", got)
	}
	e.keeper.tick()
	if got := p.Stats(); got.IdleInstances != 0 || p.snapshot != nil || p.watched {
		t.Fatalf("%+v, want nothing idle and no snapshot", got)
	}
	if again := p.program.snapshots.expire(s, time.Now().Add(snapshotRest/2)); !again || s.gone {
		t.Error("the snapshot is dropped too early")
	}
	serve(t, p)
	if p.snapshot != s {
		t.Error("the snapshot was not kept")
	}
	if again := p.program.snapshots.expire(s, time.Now().Add(2*snapshotRest)); again || s.gone {
		t.Error("a snapshot is dropped that is used")
	}
	e.keeper.tick()
	e.keeper.tick()
	if p.snapshot != nil {
		t.Fatal("the pool does not rest")
	}
	if again := p.program.snapshots.expire(s, time.Now().Add(2*snapshotRest)); again || !s.gone {
		t.Error("the snapshot is kept for ever")
	}
	e.keeper.mu.Lock()
	defer e.keeper.mu.Unlock()
	if len(e.keeper.pools) != 0 {
		t.Errorf("%d pools are watched", len(e.keeper.pools))
	}
}

// Ten thousand pools that do nothing are cheap, and so are those that have done something once.
func TestIdlePoolsAreCheap(t *testing.T) {
	e := newEngine(t)
	tmpl := load(t, e, counting())
	const n = 10_000
	pools := make([]*Pool, n)
	before, goroutines := heapInUse(), runtime.NumGoroutine()
	for i := range pools {
		p, err := tmpl.NewPool(PoolConfig{Spec: Spec{Args: []string{"guest"}}})
		if err != nil {
			t.Fatal(err)
		}
		pools[i] = p
	}
	if each := (heapInUse() - before) / n; each > 1024 {
		t.Errorf("an idle pool takes %d bytes", each)
	}
	for _, p := range pools {
		serve(t, p)
		p.trim()
		if p.trim() {
			t.Fatal("the pool does not rest")
		}
	}
	if each := (heapInUse() - before) / n; each > 1536 {
		t.Errorf("a pool that rests takes %d bytes", each)
	}
	if now := runtime.NumGoroutine(); now > goroutines+2 {
		t.Errorf("%d goroutines more", now-goroutines)
	}
	for _, p := range pools {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Calls in great number take no memory.
func TestManyCalls(t *testing.T) {
	p := newPool(t, load(t, newEngine(t), counting()), PoolConfig{})
	run := func(n int) {
		for range n {
			serve(t, p)
		}
	}
	run(2000)
	before := heapInUse()
	run(rounds(20_000, 1_000_000))
	if grown := heapInUse() - before; grown > 256<<10 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if s := p.Stats(); s.Clones != 1 || len(s.Discards) != 0 || s.ResidentBytes > 64<<10 {
		t.Errorf("%+v", s)
	}
}
