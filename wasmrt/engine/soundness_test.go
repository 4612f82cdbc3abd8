package engine

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
	"github.com/petrelrun/petrel/wasmrt/wasi"
)

// soak tells whether the long tests run at their full length.
var soak = os.Getenv("PETREL_SOAK") != ""

// rounds is the full number, or the short one.
func rounds(short, full int) int {
	if soak {
		return full
	}
	return short
}

var hunter struct {
	once sync.Once
	wasm []byte
}

func hunterTemplate(t testing.TB) *Template {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a Go guest")
	}
	hunter.once.Do(func() { hunter.wasm = moduletest.BuildGo(t, "testdata/hunter", true) })
	return loadLarge(t, hunter.wasm)
}

func warmUp(ctx context.Context, in *Instance) error { return in.Call(ctx, "warm") }

func get(t testing.TB, p *Pool) *Instance {
	t.Helper()
	in, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func put(t testing.TB, p *Pool, in *Instance) {
	t.Helper()
	if err := p.Put(in); err != nil {
		t.Fatal(err)
	}
}

// ask calls an export with a number and returns another.
func ask(t testing.TB, in *Instance, export string, number uint64) uint64 {
	t.Helper()
	stack := []uint64{number}
	if err := in.CallValues(t.Context(), export, stack); err != nil {
		t.Fatalf("%s: %v", export, err)
	}
	return stack[0]
}

// requireSnapshot fails unless an instance that was reset is its snapshot, byte for byte.
func requireSnapshot(t *testing.T, in *Instance) {
	t.Helper()
	s := in.snapshot
	if uint64(in.module.Memory().Size()) != s.image.size {
		t.Fatalf("memory has %d bytes, the snapshot %d", in.module.Memory().Size(), s.image.size)
	}
	if !bytes.Equal(in.bytes(), s.image.view) {
		t.Fatal("the memory differs from the snapshot")
	}
	for i, g := range in.globals {
		if g.Get() != s.globals[i] {
			t.Fatalf("global %d is %x, in the snapshot %x", i, g.Get(), s.globals[i])
		}
	}
	if !in.system.Pristine() || in.system.OpenFiles() != 0 || in.system.ScratchBytes() != 0 {
		t.Fatal("files are left")
	}
}

// A guest in Go that writes, grows, opens files and leaves goroutines behind is reset to its snapshot each time.
func TestGoResetsAreWhole(t *testing.T) {
	tmpl := hunterTemplate(t)
	dir := t.TempDir()
	p := newPool(t, tmpl, PoolConfig{WarmUp: warmUp, Spec: Spec{Env: []string{"DIR=/data"},
		Mounts: []wasi.Mount{{HostPath: dir, GuestPath: "/data"}}}})
	n := rounds(600, 100_000)
	for i := range n {
		in := get(t, p)
		if c := ask(t, in, "count", 0); c != 0 {
			t.Fatalf("round %d: the instance has served %d requests", i, c)
		}
		before := in.module.Memory().Size()
		switch rand.IntN(6) {
		case 0:
			if err := in.Call(t.Context(), "leave"); err != nil {
				t.Fatal(err)
			}
		case 1:
			if fd := int64(ask(t, in, "open", 0)); fd < 3 {
				t.Fatalf("open gave %d", fd)
			}
		case 2:
			if rand.IntN(8) == 0 {
				stack := []uint64{uint64(1 + rand.IntN(20))}
				if err := in.CallValues(t.Context(), "grow", stack); err != nil {
					t.Fatal(err)
				}
				if stack[0] > 12 && in.module.Memory().Size() == before {
					t.Fatal("the guest did not grow")
				}
			}
		}
		stack := []uint64{uint64(rand.IntN(40))}
		if err := in.CallValues(t.Context(), "scribble", stack); err != nil {
			t.Fatal(err)
		}
		put(t, p, in)
		requireSnapshot(t, in)
	}
	if s := p.Stats(); s.Clones != 1 || s.Resets != uint64(n) || s.NoSnapshot != "" || s.Reseeded == 0 {
		t.Errorf("%+v, want one clone and %d resets", s, n)
	}
}

// A guest that hunts for what another request left never finds it, whatever became of that one.
func TestSecretsStay(t *testing.T) {
	tmpl := hunterTemplate(t)
	p := newPool(t, tmpl, PoolConfig{WarmUp: warmUp})
	for i := range rounds(15, 2000) {
		secret := rand.Uint64()
		in := get(t, p)
		if err := in.CallValues(t.Context(), "hide", []uint64{secret}); err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 {
			if err := in.Call(t.Context(), "crash"); err == nil {
				t.Fatal("no crash")
			}
		}
		put(t, p, in)
		in = get(t, p)
		ask(t, in, "size", uint64(in.module.Memory().Size()/module.PageSize))
		if at := int64(ask(t, in, "hunt", secret)); at != -1 {
			t.Fatalf("round %d: the secret is at %d", i, at)
		}
		put(t, p, in)
	}
	if s := p.Stats(); s.Discards["trap"] == 0 || s.Resets == 0 {
		t.Errorf("%+v", s)
	}
	// The hunter is able: where nothing isolates, it finds.
	shared := newPool(t, tmpl, PoolConfig{WarmUp: warmUp, Isolation: IsolationShared})
	in := get(t, shared)
	if err := in.CallValues(t.Context(), "hide", []uint64{12345}); err != nil {
		t.Fatal(err)
	}
	put(t, shared, in)
	in = get(t, shared)
	ask(t, in, "size", uint64(in.module.Memory().Size()/module.PageSize))
	if at := int64(ask(t, in, "hunt", 12345)); at == -1 {
		t.Error("shared isolation shares nothing")
	}
	put(t, shared, in)
}

func TestIsolations(t *testing.T) {
	tmpl := hunterTemplate(t)
	for isolation, want := range map[Isolation]uint64{IsolationReset: 0, IsolationFresh: 0, IsolationShared: 1} {
		p := newPool(t, tmpl, PoolConfig{WarmUp: warmUp, Isolation: isolation})
		for i := range 3 {
			in := get(t, p)
			if c := ask(t, in, "count", 0); c != want*uint64(i) {
				t.Errorf("%s: request %d sees %d before it", isolation, i, c)
			}
			if err := in.Call(t.Context(), module.HandleExport); err != nil {
				t.Fatal(err)
			}
			put(t, p, in)
		}
		s := p.Stats()
		if s.BusyInstances != 0 || (isolation == IsolationFresh) != (s.Fresh == 3) || (isolation == IsolationFresh) != (s.Discards["fresh"] == 3) {
			t.Errorf("%s: %+v", isolation, s)
		}
	}
}

// Random numbers, hash seeds and the order of maps differ between clones and between requests.
func TestClonesDiffer(t *testing.T) {
	tmpl := hunterTemplate(t)
	p := newPool(t, tmpl, PoolConfig{WarmUp: warmUp})
	for kind, name := range []string{"math/rand", "math/rand/v2", "maphash", "map order", "crypto/rand"} {
		seen := map[uint64]int{}
		var all []*Instance
		for range 6 {
			in := get(t, p) // another clone
			seen[ask(t, in, "random", uint64(kind))]++
			all = append(all, in)
		}
		for _, in := range all {
			put(t, p, in)
		}
		for range 6 {
			in := get(t, p) // the same instance again
			seen[ask(t, in, "random", uint64(kind))]++
			put(t, p, in)
		}
		want := 12
		if name == "map order" {
			want = 4 // there are not many
		}
		if len(seen) < want {
			t.Errorf("%s: %d different values in 12 requests", name, len(seen))
		}
	}
	if s := p.Stats(); s.Reseeded < 2 {
		t.Errorf("%d generators found, want that of the thread and that of the start", s.Reseeded)
	}
}

// What cannot be reset is thrown away and counted, and the next request is served all the same.
func TestDiscards(t *testing.T) {
	tmpl := hunterTemplate(t)
	p := newPool(t, tmpl, PoolConfig{WarmUp: warmUp, Spec: Spec{MemoryLimit: 32 << 20, CPUTime: 200 * time.Millisecond}})
	tests := []struct {
		cause string
		call  func(ctx context.Context, in *Instance) error
		want  func(err error) bool
	}{
		{"trap", func(ctx context.Context, in *Instance) error { return in.Call(ctx, "crash") }, func(err error) bool {
			var e *TrapError
			return errors.As(err, &e) && e.Function == "main.crash"
		}},
		{"exit", func(ctx context.Context, in *Instance) error { return in.Call(ctx, "quit") }, func(err error) bool {
			var e *ExitError
			return errors.As(err, &e) && e.Code == 3
		}},
		{"memory", func(ctx context.Context, in *Instance) error { return in.CallValues(ctx, "grow", []uint64{64}) }, func(err error) bool {
			var e *MemoryError
			return errors.As(err, &e)
		}},
		{"cpu_time", func(ctx context.Context, in *Instance) error { return in.Call(ctx, "spin") }, func(err error) bool {
			var e *CPUTimeError
			return errors.As(err, &e) && e.Limit == 200*time.Millisecond && strings.Contains(e.Function, "spin")
		}},
		{"kill", func(ctx context.Context, in *Instance) error {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			return in.Call(ctx, "spin")
		}, func(err error) bool {
			var e *KilledError
			return errors.As(err, &e) && errors.Is(err, context.DeadlineExceeded)
		}},
	}
	for _, tt := range tests {
		in := get(t, p)
		if err := tt.call(t.Context(), in); !tt.want(err) {
			t.Errorf("%s: %v", tt.cause, err)
		}
		if err := in.Call(t.Context(), module.HandleExport); err == nil {
			t.Errorf("%s: the instance can be called again", tt.cause)
		}
		put(t, p, in)
		if s := p.Stats(); s.Discards[tt.cause] != 1 {
			t.Errorf("%s: %+v", tt.cause, s.Discards)
		}
		in = get(t, p)
		if c := ask(t, in, "count", 0); c != 0 {
			t.Errorf("after %s the next request sees %d before it", tt.cause, c)
		}
		put(t, p, in)
	}
}

// Pools of one kind share a snapshot; what is baked into it keeps them apart.
func TestSnapshotsAreShared(t *testing.T) {
	tmpl := hunterTemplate(t)
	specs := []Spec{{}, {}, {Env: []string{"A=1"}}, {MemoryLimit: 64 << 20}, {Args: []string{"x"}}, {CPUTime: time.Second}}
	var snapshots []*snapshot
	for _, spec := range specs {
		p := newPool(t, tmpl, PoolConfig{WarmUp: warmUp, Spec: spec})
		put(t, p, get(t, p))
		snapshots = append(snapshots, p.snapshot)
	}
	for i, same := range []bool{true, true, false, false, false, true} {
		if (snapshots[i] == snapshots[0]) != same {
			t.Errorf("spec %d: shared %v, want %v", i, !same, same)
		}
	}
}
