package scheduler

import (
	"fmt"
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

// TestThousandPodsAreFast holds the decisions on a thousand pods over a hundred nodes to a quarter of a second: a
// snapshot rebuilt for every pod, or a scan of all pods, would not do it.
func TestThousandPodsAreFast(t *testing.T) {
	const limit = 250 * time.Millisecond
	best := time.Hour // of three: the machine may be busy with something else
	for range 3 {
		start := time.Now()
		c := newCluster()
		for _, n := range manyNodes(100) {
			c.SetNode(n)
		}
		for i := range 1000 {
			p := NewPod(pod(fmt.Sprint(i), asking("cpu", "100m")))
			c.Assume(p, Place(p, c.Snapshot()).Node)
		}
		best = min(best, time.Since(start))
	}
	if best > limit {
		t.Errorf("a thousand pods took %s, limit %s", best, limit)
	}
}
