package eviction

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is a node whose pods' memory is all that is taken.
type machine struct {
	t         *testing.T
	mu        sync.Mutex
	memory    Amount
	disk      Amount
	garbage   int64 // on disk, that nobody needs
	pods      []Candidate
	slow      bool // pods take their time to end
	evicted   []types.UID
	signals   []Signal
	messages  []string
	graces    []time.Duration
	soft      []Threshold
	reclaim   string
	announced []string
	maxGrace  time.Duration
	changes   int
	fail      error
	m         *Monitor
}

func (x *machine) observe(context.Context) (Observed, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return Observed{MemoryAvailable: x.memory, NodeFSAvailable: x.disk}, x.fail
}

func (x *machine) evict(uid types.UID, message string, grace time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.graces = append(x.graces, grace)
	x.evicted, x.messages = append(x.evicted, uid), append(x.messages, message)
	if !x.slow {
		x.endLocked(uid)
	}
}

func (x *machine) end(uid types.UID) { x.change(func() { x.endLocked(uid) }) }

// change changes what the monitor sees.
func (x *machine) change(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f()
}

func (x *machine) endLocked(uid types.UID) {
	for i, p := range x.pods {
		if p.UID == uid {
			x.memory.Available += p.Uses[corev1.ResourceMemory]
			x.disk.Available += p.Uses[corev1.ResourceEphemeralStorage]
			x.pods = append(x.pods[:i:i], x.pods[i+1:]...)
			return
		}
	}
}

func (x *machine) ended(uid types.UID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range x.pods {
		if p.UID == uid {
			return false
		}
	}
	return true
}

// start runs a monitor in a bubble until the test ends.
func start(t *testing.T, x *machine) {
	t.Helper()
	x.t = t
	thresholds, err := Reclaiming(append(Default(), x.soft...), x.reclaim)
	if err != nil {
		t.Fatal(err)
	}
	x.m, err = New(Config{
		Reclaiming: func(resource string) { x.change(func() { x.announced = append(x.announced, resource) }) },
		Thresholds: thresholds, MaxGrace: x.maxGrace, Observe: x.observe, Evict: x.evict, Ended: x.ended, Evicted: func(s Signal) { x.change(func() { x.signals = append(x.signals, s) }) }, Changed: func() { x.change(func() { x.changes++ }) }, Logger: slog.New(slog.DiscardHandler),
		Reclaim: func(context.Context) error {
			x.change(func() { x.disk.Available, x.garbage = x.disk.Available+x.garbage, 0 })
			return nil
		},
		Pods: func(context.Context, Signal) ([]Candidate, error) {
			x.mu.Lock()
			defer x.mu.Unlock()
			return slices.DeleteFunc(slices.Clone(x.pods), func(c Candidate) bool { return slices.Contains(x.evicted, c.UID) }), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- x.m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
}

// after waits and lets the monitor settle.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (x *machine) wants(evicted ...types.UID) {
	x.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(evicted) != len(x.evicted) {
		x.t.Fatalf("evicted %v, want %v", x.evicted, evicted)
	}
	for i := range evicted {
		if evicted[i] != x.evicted[i] {
			x.t.Fatalf("evicted %v, want %v", x.evicted, evicted)
		}
	}
}

const mib = 1 << 20

func plenty() *machine {
	return &machine{memory: Amount{1000 * mib, 500 * mib}, disk: Amount{1000 * mib, 500 * mib}}
}

func TestEvictsAsManyAsItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := plenty()
		x.pods = []Candidate{candidate("small", 0, 0, 30*mib), candidate("big", 0, 0, 60*mib), candidate("late", 5, 0, 500*mib)}
		start(t, x)
		after(time.Minute)
		x.wants()
		if x.m.Holds(corev1.NodeMemoryPressure) || x.changes != 0 {
			t.Error("pressure without want")
		}
		x.change(func() { x.memory.Available = 20 * mib })
		after(interval + 3*busyInterval)
		x.wants("big", "small")
		if !x.m.Holds(corev1.NodeMemoryPressure) || x.m.Holds(corev1.NodeDiskPressure) || x.changes != 1 {
			t.Errorf("memory pressure: %v, changes: %d", x.m.Holds(corev1.NodeMemoryPressure), x.changes)
		}
		if !strings.Contains(x.messages[0], "low on resource: memory. Threshold quantity: 100Mi, available: 20Mi.") || x.graces[0] != hardGrace {
			t.Errorf("message = %q, grace %v", x.messages[0], x.graces[0])
		}
		after(DefaultTransition - time.Minute)
		if !x.m.Holds(corev1.NodeMemoryPressure) {
			t.Error("the pressure went before its time")
		}
		after(2 * time.Minute)
		if x.m.Holds(corev1.NodeMemoryPressure) || x.changes != 2 {
			t.Errorf("the pressure stayed, changes: %d", x.changes)
		}
		x.wants("big", "small")
	})
}

func TestWaitsForThePodsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := plenty()
		x.slow = true
		x.pods = []Candidate{candidate("a", 0, 0, 60*mib), candidate("b", 0, 0, 50*mib)}
		x.memory.Available = 50 * mib
		start(t, x)
		after(patience - time.Second)
		x.wants("a")
		x.end("a")
		after(time.Minute)
		x.wants("a") // that was enough

		x.change(func() {
			x.memory.Available = 0
			x.pods = append(x.pods, candidate("c", 0, 0, 40*mib))
		})
		after(interval)
		x.wants("a", "b")
		after(patience + busyInterval) // b does not end: it must not hold up the others
		x.wants("a", "b", "c")
	})
}

func TestDiskIsFreedOfGarbageFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := plenty()
		pod := candidate("a", 0, 0, 0)
		pod.Uses[corev1.ResourceEphemeralStorage] = 70 * mib
		x.pods = []Candidate{pod}
		x.garbage, x.disk.Available = 100*mib, 10*mib
		start(t, x)
		x.wants()
		if !x.m.Holds(corev1.NodeDiskPressure) || x.garbage != 0 {
			t.Error("the disk was short, and nothing came of it")
		}
		x.change(func() { x.disk.Available = 10 * mib })
		after(interval)
		x.wants("a")
		x.change(func() {
			if len(x.signals) != 1 || x.signals[0] != NodeFSAvailable {
				t.Errorf("evicted for %v, want the disk's signal once", x.signals)
			}
		})
	})
}

func TestFailuresEvictNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := plenty()
		x.pods = []Candidate{candidate("a", 0, 0, 60*mib)}
		x.memory.Available, x.fail = 0, errors.New("cannot look")
		start(t, x)
		after(time.Minute)
		x.wants()
		x.change(func() { x.fail = nil })
		after(interval)
		x.wants("a")
	})
}

func TestWithoutThresholdsNothingRuns(t *testing.T) {
	m, err := New(Config{
		Observe: func(context.Context) (Observed, error) { t.Error("looked"); return nil, nil },
		Reclaim: func(context.Context) error { return nil }, Pods: func(context.Context, Signal) ([]Candidate, error) { return nil, nil },
		Evict: func(types.UID, string, time.Duration) {}, Ended: func(types.UID) bool { return true }, Changed: func() {}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a monitor of nothing was made")
	}
}
