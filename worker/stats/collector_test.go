package stats

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRuntime tells what it was told.
type fakeRuntime struct {
	mu    sync.Mutex
	list  []*runtimev1.ContainerStats
	err   error
	asked int
}

func (f *fakeRuntime) EachContainerStats(_ context.Context, _ *runtimev1.ContainerStatsFilter, handle func(*runtimev1.ContainerStats)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	for _, s := range f.list {
		if s.Cpu != nil {
			s.Cpu.Timestamp = time.Now().UnixNano()
		}
		handle(s)
	}
	return f.err
}

func (f *fakeRuntime) ListPodSandboxStats(context.Context, *runtimev1.PodSandboxStatsFilter) ([]*runtimev1.PodSandboxStats, error) {
	eth := &runtimev1.NetworkInterfaceUsage{Name: "eth0", RxBytes: &runtimev1.UInt64Value{Value: 10}, TxBytes: &runtimev1.UInt64Value{Value: 20}}
	return []*runtimev1.PodSandboxStats{{
		Attributes: &runtimev1.PodSandboxAttributes{Labels: map[string]string{labelPodUID: "uid-a"}},
		Linux:      &runtimev1.LinuxPodSandboxStats{Network: &runtimev1.NetworkUsage{DefaultInterface: eth, Interfaces: []*runtimev1.NetworkInterfaceUsage{eth}}},
	}}, nil
}

func (f *fakeRuntime) set(list ...*runtimev1.ContainerStats) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = list
}

// used is a container that took so many nanoseconds and bytes; none were measured where they are negative.
func used(pod, name string, nanos, bytes int64) *runtimev1.ContainerStats {
	s := &runtimev1.ContainerStats{Attributes: &runtimev1.ContainerAttributes{
		Id: "id-" + pod + "-" + name, Metadata: &runtimev1.ContainerMetadata{Name: name},
		Labels: map[string]string{labelPodName: pod, labelPodNamespace: "default", labelPodUID: "uid-" + pod, labelContainerName: name},
	}}
	if nanos >= 0 {
		s.Cpu = &runtimev1.CpuUsage{UsageCoreNanoSeconds: &runtimev1.UInt64Value{Value: uint64(nanos)}}
	}
	if bytes >= 0 {
		s.Memory = &runtimev1.MemoryUsage{WorkingSetBytes: &runtimev1.UInt64Value{Value: uint64(bytes)}}
	}
	return s
}

func newCollector(t *testing.T, host Host, sources ...Source) *Collector {
	t.Helper()
	c, err := New(Config{Host: host, Sources: func() []Source { return sources }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func read(t *testing.T, c *Collector, rates bool) *Reading {
	t.Helper()
	r, err := c.Read(t.Context(), rates)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func still(t *testing.T) Host {
	return files(t, map[string]string{"proc/meminfo": meminfo, "sys/fs/cgroup/cpuacct/cpuacct.usage": "1000\n"})
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &fakeRuntime{}
		c := newCollector(t, still(t), Source{Runtime: rt})
		rt.set(used("a", "main", 1e9, 100))
		started := time.Now()
		first := read(t, c, true)
		if took := time.Since(started); took != settle || rt.asked != 2 {
			t.Errorf("the first rates took %v and %d questions, want %v and 2", took, rt.asked, settle)
		}
		if n := first.Containers[0].NanoCores; n == nil || *n != 0 || first.Window != settle {
			t.Errorf("rate of an idle container = %v over %v", n, first.Window)
		}
		if again := read(t, c, true); again != first || rt.asked != 2 {
			t.Errorf("a fresh reading was taken again: %d questions", rt.asked)
		}

		time.Sleep(10 * time.Second)
		rt.set(used("a", "main", 6e9, 100), used("a", "new", 2e9, 1))
		second := read(t, c, true)
		if rt.asked != 3 || second.Window != 10*time.Second {
			t.Errorf("%d questions, window %v: want 3 and 10 s", rt.asked, second.Window)
		}
		for i, want := range []uint64{5e8, 2e8} { // half a processor; one that began within the window
			if n := second.Containers[i].NanoCores; n == nil || *n != want {
				t.Errorf("rate of %s = %v, want %d", second.Containers[i].Name, n, want)
			}
		}

		time.Sleep(10 * time.Second)
		rt.set(used("a", "main", 5, 100))
		if third := read(t, c, true); third.Containers[0].NanoCores != nil {
			t.Errorf("a counter that began anew has the rate %d", *third.Containers[0].NanoCores)
		}
	})
}

func TestReadingsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &fakeRuntime{}
		c := newCollector(t, still(t), Source{Runtime: rt})
		rt.set(used("a", "main", 1e9, 100))
		read(t, c, false)
		time.Sleep(forget + time.Second)
		c.mu.Lock()
		kept := c.last != nil || c.before != nil
		c.mu.Unlock()
		if kept {
			t.Errorf("a reading is kept for longer than %v", forget)
		}
	})
}

func TestWithoutRatesNothingIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &fakeRuntime{}
		c := newCollector(t, still(t), Source{Runtime: rt})
		started := time.Now()
		read(t, c, false)
		if took := time.Since(started); took != 0 {
			t.Errorf("took %v", took)
		}
		if r := read(t, c, true); r.Window != settle { // not the moment that has gone by
			t.Errorf("rates over %v, want %v", r.Window, settle)
		}
	})
}

func TestARuntimeThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away, there := &fakeRuntime{err: errors.New("gone")}, &fakeRuntime{}
		there.set(used("b", "main", 1, 2), used("a", "main", 1, 2), &runtimev1.ContainerStats{})
		c := newCollector(t, still(t), Source{Runtime: away}, Source{Runtime: there, Networks: true})
		r := read(t, c, false)
		if r.Failed == nil || len(r.Containers) != 2 || r.Containers[0].Pod.Name != "a" {
			t.Errorf("failed = %v, containers = %+v", r.Failed, r.Containers)
		}
		if n := r.Networks["uid-a"]; len(n) != 1 || n[0].TxBytes != 20 {
			t.Errorf("networks = %+v", r.Networks)
		}
		// A container that was missing while its runtime was away may be old: nobody knows its rate.
		away.mu.Lock()
		away.err = nil
		away.mu.Unlock()
		away.set(used("c", "main", 1e12, 1))
		time.Sleep(fresh)
		if r := read(t, c, true); r.Containers[2].NanoCores != nil {
			t.Errorf("rate = %d", *r.Containers[2].NanoCores)
		}
	})
}

func TestAskingEnds(t *testing.T) {
	c := newCollector(t, still(t))
	c.taking <- struct{}{} // somebody else is at it
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Read(ctx, false); !errors.Is(err, context.Canceled) {
		t.Errorf("read = %v", err)
	}
	<-c.taking
}
