package scheduler

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// BenchmarkSchedule measures decisions: queue, snapshot, placing and counting, without the API. One iteration is one
// pod.
func BenchmarkSchedule(b *testing.B) {
	for _, nodes := range []int{1, 100, 5000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			c := newCluster()
			for _, n := range manyNodes(nodes) {
				roomFor("pods", "10000000", "cpu", "10000000", "memory", "10000000Gi")(n)
				c.SetNode(n)
			}
			q := NewQueue()
			pods := make([]*Pod, b.N)
			for i := range pods {
				pods[i] = NewPod(pod(fmt.Sprint(i), asking("cpu", "100m", "memory", "64Mi")))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for _, p := range pods {
				q.Put(p, false, epoch)
			}
			for p := q.Pop(epoch); p != nil; p = q.Pop(epoch) {
				d := Place(p, c.Snapshot())
				if d.Node == "" {
					b.Fatal(d.Diagnosis.Explain())
				}
				c.Assume(p, d.Node)
				q.Delete(p.UID())
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}

// TestDecisionsCostTheSameWithManyPods holds four thousand pods on a hundred nodes to what four times a thousand take, and
// as much again: a snapshot rebuilt for every pod, or a scan of all pods, would take four times as long for each.
func TestDecisionsCostTheSameWithManyPods(t *testing.T) {
	place := func(n int) time.Duration {
		best := time.Hour // of three: the collector's part differs
		for range 3 {
			start := cpuTime(t)
			c := newCluster()
			for _, n := range manyNodes(100) {
				c.SetNode(n)
			}
			for i := range n {
				p := NewPod(pod(fmt.Sprint(i), asking("cpu", "10m")))
				c.Assume(p, Place(p, c.Snapshot()).Node)
			}
			best = min(best, cpuTime(t)-start)
		}
		return best
	}
	few, many := place(1000), place(4000)
	t.Logf("1,000 pods in %s, 4,000 in %s", few, many)
	if many > 10*few {
		t.Errorf("1,000 pods took %s and 4,000 took %s", few, many)
	}
}

// cpuTime is the processor time of this process so far: what else the machine does has no part in it.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
