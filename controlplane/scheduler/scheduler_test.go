package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
)

func TestSchedulesPods(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.wantNode("before", "a") // was there when the scheduler started
		r.create(pod("after"))
		r.settle(time.Millisecond)
		r.wantNode("after", "b")
		select {
		case e := <-r.events.Events:
			if !strings.Contains(e, "Scheduled Successfully assigned default/before to a") {
				t.Errorf("event %q", e)
			}
		default:
			t.Error("no event")
		}
	}, node("a"), node("b"), pod("before"))
}

func TestLeavesOthersAlone(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.create(pod("other", func(p *corev1.Pod) { p.Spec.SchedulerName = "mine" }))
		r.create(pod("gated", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "wait"}} }))
		r.create(pod("unnamed", func(p *corev1.Pod) { p.Spec.SchedulerName = "" }))
		r.settle(2 * flushAfter)
		r.wantNode("other", "")
		r.wantNode("gated", "")
		r.wantNode("unnamed", "a")
		open := r.pod("gated")
		open.Spec.SchedulingGates = nil
		if _, err := r.set.CoreV1().Pods("default").Update(context.Background(), open, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		r.settle(time.Second)
		r.wantNode("gated", "a")
	}, node("a"))
}

func TestSaysWhyAPodWaits(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.create(pod("big", asking("cpu", "64")))
		r.settle(100 * time.Millisecond)
		want := "0/2 nodes are available: 2 Insufficient cpu."
		c := r.pod("big").Status.Conditions
		if len(c) != 1 || c[0].Type != corev1.PodScheduled || c[0].Status != corev1.ConditionFalse ||
			c[0].Reason != corev1.PodReasonUnschedulable || c[0].Message != want || c[0].LastTransitionTime.IsZero() {
			t.Errorf("conditions %+v", c)
		}
		if e := <-r.events.Events; e != "Warning FailedScheduling "+want {
			t.Errorf("event %q", e)
		}
		// It stays as it is: the same news is not written twice.
		writes := len(r.set.Actions())
		r.settle(3 * flushAfter)
		for _, a := range r.set.Actions()[writes:] {
			if a.GetVerb() == "update" {
				t.Errorf("wrote %v though nothing changed", a)
			}
		}
	}, node("a"), node("b"))
}

func TestWokenByWhatHelps(t *testing.T) {
	for _, tc := range []struct {
		name  string
		event func(r *rig)
	}{
		{"a node that comes", func(r *rig) { r.addNode(node("new", roomFor("cpu", "8"))) }},
		{"a pod that goes", func(r *rig) { r.delete("hog") }},
		{"a pod that ends", func(r *rig) {
			p := r.pod("hog")
			p.Status.Phase = corev1.PodSucceeded
			if _, err := r.UpdateStatus(context.Background(), p); err != nil {
				t.Fatal(err)
			}
		}},
		{"a node that grows", func(r *rig) {
			n, _ := r.set.CoreV1().Nodes().Get(context.Background(), "a", metav1.GetOptions{})
			roomFor("cpu", "16")(n)
			if _, err := r.set.CoreV1().Nodes().UpdateStatus(context.Background(), n, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
		{"a taint that goes", func(r *rig) {
			n, _ := r.set.CoreV1().Nodes().Get(context.Background(), "tainted", metav1.GetOptions{})
			n.Spec.Taints = nil
			if _, err := r.set.CoreV1().Nodes().Update(context.Background(), n, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.create(pod("p", asking("cpu", "2")))
				r.settle(2 * firstBackoff)
				r.wantNode("p", "")
				tc.event(r)
				r.settle(time.Second) // well before a flush
				if r.nodeOf("p") == "" {
					t.Error("still waits")
				}
			}, node("a"), pod("hog", on("a"), asking("cpu", "3")),
				node("tainted", tainted("x", corev1.TaintEffectNoSchedule)))
		})
	}
}

func TestNotWokenByWhatDoesNotHelp(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.create(pod("p", asking("cpu", "64")))
		r.settle(2 * firstBackoff)
		for i := range 10 {
			r.addNode(node(fmt.Sprintf("small-%d", i)))
		}
		r.settle(2 * lastBackoff)
		if got := r.scheduler.queue.Attempts(uidOf("p")); got != 1 {
			t.Errorf("tried %d times, want 1", got)
		}
	}, node("a"))
}

// TestNoOvercommit binds slowly: pods decided later must count those whose bind is under way.
func TestNoOvercommit(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.bindDelay = time.Second
		for i := range 20 {
			r.create(pod(fmt.Sprint("p", i), asking("cpu", "1")))
		}
		r.settle(10 * time.Second)
		perNode := map[string]int{}
		for i := range 20 {
			perNode[r.nodeOf(fmt.Sprint("p", i))]++
		}
		if perNode["a"] != 4 || perNode["b"] != 4 || perNode[""] != 12 {
			t.Errorf("placed %v, want four on each node", perNode)
		}
	}, node("a"), node("b"))
}

func TestBindsAreConcurrentAndBounded(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.bindDelay = time.Second
		for i := range 100 {
			r.create(pod(fmt.Sprint("p", i)))
		}
		r.settle(5 * time.Second)
		for i := range 100 {
			r.wantNode(fmt.Sprint("p", i), "a")
		}
		if r.most != maxWrites {
			t.Errorf("%d binds at once, want %d", r.most, maxWrites)
		}
	}, node("a"))
}

func TestFailedBindGivesRoomBack(t *testing.T) {
	inBubble(t, func(r *rig) {
		fails := 2
		r.mu.Lock()
		r.failBind = func(*corev1.Binding) error {
			if fails--; fails >= 0 {
				return errors.New("the store is away")
			}
			return nil
		}
		r.mu.Unlock()
		r.create(pod("p", asking("cpu", "4")))
		r.settle(100 * time.Millisecond)
		r.wantNode("p", "")
		if got := r.used("a"); got.MilliCPU != 0 {
			t.Errorf("a failed bind keeps %+v", got)
		}
		r.settle(firstBackoff + 2*firstBackoff)
		r.wantNode("p", "a")
		if got := r.used("a"); got.MilliCPU != 4000 {
			t.Errorf("used %+v", got)
		}
	}, node("a"))
}

// TestBoundByAnother has somebody else bind the pod while its own bind is under way.
func TestBoundByAnother(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.mu.Lock()
		r.failBind = func(b *corev1.Binding) error {
			p := r.pod(b.Name)
			p.Spec.NodeName = "b"
			if _, err := r.set.CoreV1().Pods("default").Update(context.Background(), p, metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
			return apierrors.NewConflict(podsResource.GroupResource(), b.Name, errors.New("bound already"))
		}
		r.mu.Unlock()
		r.create(pod("p", asking("cpu", "1")))
		r.settle(3 * flushAfter)
		r.wantNode("p", "b")
		if r.binds != 1 {
			t.Errorf("%d binds, want 1", r.binds)
		}
		if a, b := r.used("a"), r.used("b"); a.Pods != 0 || b.Pods != 1 {
			t.Errorf("counted %d pods on a, %d on b", a.Pods, b.Pods)
		}
	}, node("a"), node("b"))
}

func TestDeletedWhileBinding(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.bindDelay = time.Second
		r.create(pod("p", asking("cpu", "1")))
		r.settle(100 * time.Millisecond)
		r.delete("p")
		r.settle(3 * flushAfter)
		if got := r.used("a"); got.Pods != 0 {
			t.Errorf("a pod that is gone counts: %+v", got)
		}
		if r.scheduler.queue.Len() != 0 {
			t.Error("a pod that is gone is in the queue")
		}
	}, node("a"))
}

// TestManyPods schedules as a Deployment scaled from nothing does.
func TestManyPods(t *testing.T) {
	var objects []runtime.Object
	for _, n := range manyNodes(10) {
		objects = append(objects, n)
	}
	for i := range 300 {
		objects = append(objects, pod(fmt.Sprint("p", i), asking("cpu", "10m")))
	}
	inBubble(t, func(r *rig) {
		r.settle(time.Second)
		perNode := map[string]int{}
		for i := range 300 {
			perNode[r.nodeOf(fmt.Sprint("p", i))]++
		}
		for _, n := range manyNodes(10) {
			if perNode[n.Name] != 30 {
				t.Errorf("%s has %d pods, want 30", n.Name, perNode[n.Name])
			}
		}
		if r.binds != 300 {
			t.Errorf("%d binds for three hundred pods", r.binds)
		}
	}, objects...)
}

// TestStaleEventAfterBind shows the scheduler a pod without node after its bind: the cache is behind.
func TestStaleEventAfterBind(t *testing.T) {
	f := newFakeAPI()
	s, err := New(Config{Client: f, Informers: f, Recorder: record.NewFakeRecorder(10)})
	if err != nil {
		t.Fatal(err)
	}
	s.setNode(node("a"))
	p := pod("p", asking("cpu", "1"))
	s.setPod(nil, p)
	s.cluster.Assume(s.queue.Pop(epoch), "a")
	s.queue.Delete(p.UID) // bound
	s.setPod(p, pod("p", asking("cpu", "1"), func(p *corev1.Pod) { p.Labels = map[string]string{"x": "y"} }))
	if s.queue.Len() != 0 {
		t.Error("a bound pod is to be scheduled again")
	}
	if used := s.used("a"); used != 1 {
		t.Errorf("it counts %d times", used)
	}
}

func (s *Scheduler) used(node string) int64 { return s.cluster.node(node).Used.Pods }

// TestEventDuringAttempt has a node come after the snapshot that a pod was turned down by.
func TestEventDuringAttempt(t *testing.T) {
	f := newFakeAPI()
	s, err := New(Config{Client: f, Informers: f, Recorder: record.NewFakeRecorder(10)})
	if err != nil {
		t.Fatal(err)
	}
	p := pod("p", asking("cpu", "1"))
	s.setPod(nil, p)
	popped, snapshot := s.queue.Pop(time.Now()), s.cluster.Snapshot()
	s.setNode(node("a"))
	s.turnedDown(t.Context(), popped, snapshot, Place(popped, snapshot))
	s.group.Wait()
	if at, ok := s.queue.Next(); !ok || time.Until(at) > firstBackoff {
		t.Error("the pod waits for a flush though a node came that takes it")
	}
}
