package engine

import (
	"math/rand/v2"
	"os"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
	"github.com/petrelrun/petrel/wasmrt/wasi"
)

// writer is a reactor whose handle takes a number: it writes it to the address that it names, and grows by a page when it
// is odd.
func writer(maxPages uint32) []byte {
	m := moduletest.CommandWith(nil)
	m.MaxPages = maxPages
	m.Pages = 2
	m.Data = []byte("data")
	m.Funcs[0].Name = module.HandleExport
	m.Funcs = append(m.Funcs,
		moduletest.Func{Name: "write", Export: true, Type: module.FuncType{Params: []module.ValueType{module.I64}, Results: []module.ValueType{module.I64}},
			Body: moduletest.Then(
				[]byte{0x20, 0, 0xa7, 0x41, 0xff, 0xff, 0x07, 0x71}, // address: number & 0x1ffff
				[]byte{0x20, 0, 0x3c, 0, 0},                         // i64.store8
				[]byte{0x20, 0},
			)},
		moduletest.Func{Name: "grow", Export: true, Type: module.FuncType{Params: []module.ValueType{module.I64}, Results: []module.ValueType{module.I64}},
			Body: []byte{0x20, 0, 0xa7, 0x40, 0, 0xac}})
	return moduletest.Build(m)
}

// A tiny guest is reset a hundred thousand times, grown or not, and each time is its snapshot.
func TestTinyResetsAreWhole(t *testing.T) {
	p := newPool(t, load(t, newEngine(t), writer(0)), PoolConfig{})
	n := rounds(8000, 100_000)
	for i := range n {
		in := get(t, p)
		for range rand.IntN(5) {
			ask(t, in, "write", rand.Uint64())
		}
		if i%10 == 0 {
			if old := int64(ask(t, in, "grow", uint64(1+rand.IntN(20)))); old != 2 {
				t.Fatalf("round %d: the memory had %d pages", i, old)
			}
			ask(t, in, "write", rand.Uint64())
		}
		put(t, p, in)
		requireSnapshot(t, in)
	}
	if s := p.Stats(); s.Clones != 1 || s.Resets != uint64(n) {
		t.Errorf("%+v", s)
	}
}

// Memory that has grown to the module's own maximum cannot shrink: such an instance is thrown away.
func TestGrownToMaximum(t *testing.T) {
	p := newPool(t, load(t, newEngine(t), writer(4)), PoolConfig{})
	for _, tt := range []struct {
		grow uint64
		kept bool
	}{{1, true}, {2, false}, {1, true}} {
		in := get(t, p)
		if old := ask(t, in, "grow", tt.grow); old != 2 {
			t.Errorf("the memory had %d pages", old)
		}
		put(t, p, in)
		if got := p.Stats().IdleInstances == 1; got != tt.kept {
			t.Errorf("grown by %d: kept %v, want %v", tt.grow, got, tt.kept)
		}
	}
	if s := p.Stats(); s.Discards["memory_grown"] != 1 {
		t.Errorf("%+v", s)
	}
}

// A module whose state cannot be reached is started anew for each request, and the reason is told.
func TestNoSnapshot(t *testing.T) {
	m := moduletest.CommandWith([]byte{0x41, 0, 0xd2, 0, 0x26, 0}) // table.set
	m.Funcs[0].Name = module.HandleExport
	m.TableSize = 2
	p := newPool(t, load(t, newEngine(t), moduletest.Build(m)), PoolConfig{})
	for range 3 {
		in := get(t, p)
		put(t, p, in)
	}
	cold, err := p.Measure(t.Context())
	if err != nil || cold.Snapshotted || cold.Reason == "" || cold.CloneP50 <= 0 {
		t.Errorf("%+v, %v", cold, err)
	}
	if s := p.Stats(); s.Fresh < 3 || s.Clones != 0 || s.NoSnapshot != cold.Reason || s.Discards["plain"] != 3 {
		t.Errorf("%+v, reason %q", s, cold.Reason)
	}
}

func TestMeasure(t *testing.T) {
	p := newPool(t, load(t, newEngine(t), counting()), PoolConfig{})
	cold, err := p.Measure(t.Context())
	if err != nil || !cold.Snapshotted || cold.Reason != "" || cold.Snapshot <= 0 || cold.CloneP50 <= 0 || cold.CloneP99 < cold.CloneP50 {
		t.Errorf("%+v, %v", cold, err)
	}
}

// What a guest saw of files when it was started is in the snapshot of those files only.
func TestSnapshotsOfFiles(t *testing.T) {
	tmpl := hunterTemplate(t)
	var pools []*Pool
	for i, touch := range []string{"", "", "/data/which", "/data/which"} {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/which", []byte{'0' + byte(i)}, 0o600); err != nil {
			t.Fatal(err)
		}
		p := newPool(t, tmpl, PoolConfig{WarmUp: warmUp, Spec: Spec{Env: []string{"READ=" + touch}, Mounts: []wasi.Mount{{HostPath: dir, GuestPath: "/data"}}}})
		in := get(t, p)
		if got := ask(t, in, "read", 0); touch != "" && got != uint64('0'+i) {
			t.Errorf("pool %d has read %q at its start", i, rune(got))
		}
		if got := ask(t, in, "look", 0); got != uint64('0'+i) {
			t.Errorf("pool %d reads %q now", i, rune(got))
		}
		put(t, p, in)
		pools = append(pools, p)
	}
	if pools[0].snapshot != pools[1].snapshot {
		t.Error("a guest that has read nothing has a snapshot for each place of its mounts")
	}
	if pools[2].snapshot == pools[3].snapshot {
		t.Error("guests that have read different files share a snapshot")
	}
}

// A guest's own export for new seeds is called before each request, and not before the snapshot.
func TestReseedExport(t *testing.T) {
	m := moduletest.CommandWith(nil)
	m.Funcs[0].Name = module.HandleExport
	m.Funcs = append(m.Funcs,
		moduletest.Func{Name: ReseedExport, Export: true, Body: []byte{0x41, 32, 0x41, 32, 0x28, 2, 0, 0x41, 7, 0x6a, 0x36, 2, 0}}, // adds 7 at 32
		moduletest.Func{Name: "value", Export: true, Type: module.FuncType{Results: []module.ValueType{module.I64}},
			Body: []byte{0x41, 32, 0x29, 3, 0}})
	p := newPool(t, load(t, newEngine(t), moduletest.Build(m)), PoolConfig{})
	for range 3 {
		in := get(t, p)
		if got := ask(t, in, "value", 0); got != 7 {
			t.Errorf("the export was called %d times, want once", got/7)
		}
		put(t, p, in)
		requireSnapshot(t, in)
	}
	shared := newPool(t, load(t, newEngine(t), moduletest.Build(m)), PoolConfig{Isolation: IsolationShared})
	for range 3 {
		in := get(t, shared)
		if got := ask(t, in, "value", 0); got != 7 {
			t.Errorf("shared: the export was called %d times, want once", got/7)
		}
		put(t, shared, in)
	}
}
