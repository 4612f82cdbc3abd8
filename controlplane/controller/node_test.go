package controller

import (
	"fmt"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

var nodeControllers = []build{newNodeLifecycle, newEvictions, newPodGC}

func worker(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"},
			{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
		}},
	}
}

func lease(name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name},
		// Another clock than ours: only that it changes says anything.
		Spec: coordinationv1.LeaseSpec{RenewTime: &metav1.MicroTime{Time: time.Unix(1, 0)}},
	}
}

func podOn(node, name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	setReady(p, true)
	for _, c := range change {
		c(p)
	}
	return p
}

// beat renews the leases of nodes for a while.
func (w *world) beat(d time.Duration, nodes ...string) {
	w.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		for _, n := range nodes {
			edit(w, lease(n), func(l *coordinationv1.Lease) { l.Spec.RenewTime.Time = l.Spec.RenewTime.Add(10 * time.Second) })
		}
		w.settle(10 * time.Second)
	}
}

func taintEffects(n *corev1.Node) map[string]int {
	found := map[string]int{}
	for _, t := range n.Spec.Taints {
		found[t.Key+":"+string(t.Effect)]++
	}
	return found
}

func inCluster(t *testing.T, body func(w *world), nodes int, more ...api.Object) {
	t.Helper()
	var objects []api.Object
	for i := range nodes {
		name := string(rune('a' + i))
		objects = append(objects, worker(name), lease(name))
	}
	inWorld(t, nodeControllers, body, append(objects, more...)...)
}

func TestNodeFallsSilentAndComesBack(t *testing.T) {
	inCluster(t, func(w *world) {
		w.beat(2*time.Minute, "a", "b")
		if n := get(w, worker("b")); readiness(n) != corev1.ConditionTrue || len(n.Spec.Taints) != 0 {
			t.Fatalf("a healthy node: %+v %+v", n.Spec, n.Status)
		}
		w.beat(30*time.Second, "a")
		if n := get(w, worker("b")); readiness(n) != corev1.ConditionTrue {
			t.Fatal("declared silent before its grace was over")
		}
		w.beat(30*time.Second, "a")
		n := get(w, worker("b"))
		if c := nodeCondition(n, corev1.NodeReady); c.Status != corev1.ConditionUnknown || c.Reason != "NodeStatusUnknown" {
			t.Fatalf("condition %+v", c)
		}
		if e := taintEffects(n); len(e) != 2 || e["node.kubernetes.io/unreachable:NoSchedule"] != 1 || e["node.kubernetes.io/unreachable:NoExecute"] != 1 {
			t.Errorf("taints %v", e)
		}
		if ready(get(w, podOn("b", "p"))) {
			t.Error("a pod of a silent node gets traffic")
		}
		if !ready(get(w, podOn("a", "q"))) {
			t.Error("a pod of a healthy node was touched")
		}
		w.beat(4*time.Minute, "a")
		if get(w, podOn("b", "p")).DeletionTimestamp != nil {
			t.Fatal("evicted before its tolerance was over")
		}
		// It comes back: the worker renews its lease and says that it is ready.
		edit(w, lease("b"), func(l *coordinationv1.Lease) { l.Spec.RenewTime.Time = l.Spec.RenewTime.Add(time.Hour) })
		changeStatus(w, worker("b"), func(n *corev1.Node) { n.Status.Conditions = worker("b").Status.Conditions })
		w.beat(10*time.Minute, "a", "b")
		if n := get(w, worker("b")); len(n.Spec.Taints) != 0 || readiness(n) != corev1.ConditionTrue {
			t.Errorf("after it came back: %+v %+v", n.Spec, n.Status)
		}
		if get(w, podOn("b", "p")).DeletionTimestamp != nil {
			t.Error("evicted though its node came back in time")
		}
	}, 2, podOn("b", "p"), podOn("a", "q"))
}

func TestNodeEviction(t *testing.T) {
	tolerating := func(seconds *int64) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{
				Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds,
			}}
		}
	}
	inCluster(t, func(w *world) {
		gone := func(name string) bool { return get(w, podOn("b", name)).DeletionTimestamp != nil }
		w.beat(time.Minute, "a") // b is silent after 40 to 50 seconds
		w.beat(20*time.Second, "a")
		if !gone("hasty") || gone("plain") || gone("patient") || gone("forever") {
			t.Error("after 20 s: only the hasty one is to go")
		}
		c := podCondition(get(w, podOn("b", "hasty")), corev1.DisruptionTarget)
		if c == nil || c.Status != corev1.ConditionTrue || c.Reason != "DeletionByTaintManager" {
			t.Errorf("condition %+v", c)
		}
		w.beat(300*time.Second, "a")
		if !gone("plain") || gone("patient") {
			t.Error("after 320 s: the one that says nothing is to go too")
		}
		w.beat(10*time.Minute, "a")
		if !gone("patient") || gone("forever") {
			t.Error("after 15 min: all but the one that tolerates it for ever")
		}
	}, 2, podOn("b", "plain"), podOn("b", "hasty", tolerating(ptr.To[int64](5))),
		podOn("b", "patient", tolerating(ptr.To[int64](600))), podOn("b", "forever", tolerating(nil)))
}

// TestNoMassEviction lets all nodes fall silent: the fault is on this side.
func TestNoMassEviction(t *testing.T) {
	inCluster(t, func(w *world) {
		w.beat(20*time.Second, "a", "b", "c")
		w.settle(time.Hour)
		for _, name := range []string{"a", "b", "c"} {
			n := get(w, worker(name))
			if readiness(n) != corev1.ConditionUnknown || taintEffects(n)["node.kubernetes.io/unreachable:NoExecute"] != 0 {
				t.Errorf("%s: %v", name, taintEffects(n))
			}
			if taintEffects(n)["node.kubernetes.io/unreachable:NoSchedule"] != 1 {
				t.Errorf("%s takes new pods", name)
			}
		}
		if n := len(w.live()); n != 3 {
			t.Errorf("%d pods are left", n)
		}
	}, 3, podOn("a", "p"), podOn("b", "q"), podOn("c", "r"))
}

// TestEvictionStopsWhenTheLastNodeGoes has one node fall silent, and the rest before its pods are evicted.
func TestEvictionStopsWhenTheLastNodeGoes(t *testing.T) {
	inCluster(t, func(w *world) {
		w.beat(3*time.Minute, "a")
		if taintEffects(get(w, worker("b")))["node.kubernetes.io/unreachable:NoExecute"] != 1 {
			t.Fatal("not tainted")
		}
		w.settle(time.Hour)
		if taintEffects(get(w, worker("b")))["node.kubernetes.io/unreachable:NoExecute"] != 0 || len(w.live()) != 2 {
			t.Errorf("%d pods are left of 2; taints %v", len(w.live()), taintEffects(get(w, worker("b"))))
		}
	}, 2, podOn("a", "p"), podOn("b", "q"))
}

// TestRestartForgivesSilence restarts the controllers after an outage: nodes have their whole grace again.
func TestRestartForgivesSilence(t *testing.T) {
	inCluster(t, func(w *world) {
		w.beat(time.Minute, "a", "b")
		w.stop()
		w.settle(time.Hour) // the control plane is down; leases are not renewed
		w.start(nodeControllers...)
		w.settle(30 * time.Second)
		for _, name := range []string{"a", "b"} {
			if readiness(get(w, worker(name))) != corev1.ConditionTrue {
				t.Errorf("%s is declared silent", name)
			}
		}
		w.beat(time.Minute, "a", "b")
		if len(w.live()) != 1 || len(get(w, worker("b")).Spec.Taints) != 0 {
			t.Error("a pod or a node was touched")
		}
	}, 2, podOn("b", "p"))
}

func TestNodeTaintsFollowState(t *testing.T) {
	inCluster(t, func(w *world) {
		edit(w, worker("a"), func(n *corev1.Node) {
			n.Spec.Unschedulable = true
			n.Spec.Taints = []corev1.Taint{{Key: "mine", Effect: corev1.TaintEffectNoSchedule}}
		})
		changeStatus(w, worker("a"), func(n *corev1.Node) {
			n.Status.Conditions[0].Status = corev1.ConditionFalse
			n.Status.Conditions[1].Status = corev1.ConditionTrue
		})
		w.beat(10*time.Second, "a", "b")
		want := map[string]int{
			"mine:NoSchedule": 1, "node.kubernetes.io/unschedulable:NoSchedule": 1, "node.kubernetes.io/memory-pressure:NoSchedule": 1,
			"node.kubernetes.io/not-ready:NoSchedule": 1, "node.kubernetes.io/not-ready:NoExecute": 1,
		}
		if got := taintEffects(get(w, worker("a"))); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("taints %v, want %v", got, want)
		}
		edit(w, worker("a"), func(n *corev1.Node) { n.Spec.Unschedulable = false })
		changeStatus(w, worker("a"), func(n *corev1.Node) { n.Status.Conditions = worker("a").Status.Conditions })
		w.beat(10*time.Second, "a", "b")
		if got := taintEffects(get(w, worker("a"))); len(got) != 1 || got["mine:NoSchedule"] != 1 {
			t.Errorf("taints %v", got)
		}
	}, 2)
}

func TestNodeThatJoins(t *testing.T) {
	n := worker("new")
	n.Status.Conditions = nil
	inCluster(t, func(w *world) {
		w.create(n)
		w.settle(time.Second)
		if got := taintEffects(get(w, n)); got["node.kubernetes.io/not-ready:NoSchedule"] != 1 {
			t.Errorf("a node that has not said anything takes pods: %v", got)
		}
	}, 1)
}

func TestMergeTaintsKeepsTimes(t *testing.T) {
	then, now := metav1.NewTime(time.Unix(1, 0)), metav1.NewTime(time.Unix(100, 0))
	have := []corev1.Taint{{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: &then}}
	want := []corev1.Taint{
		{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}, {Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoSchedule},
	}
	merged, changed := mergeTaints(have, want, now)
	if !changed || len(merged) != 2 || !merged[0].TimeAdded.Equal(&then) || !merged[1].TimeAdded.Equal(&now) {
		t.Errorf("merged %+v", merged)
	}
	if _, changed := mergeTaints(merged, want, now); changed {
		t.Error("changed again")
	}
}

func TestHeartbeatsAfterSleep(t *testing.T) {
	h, start, n := newHeartbeats(), time.Unix(1000, 0), worker("a")
	h.scanned(start, nodeScanPeriod)
	h.heard(n, lease("a"), start)
	h.scanned(start.Add(nodeScanPeriod), nodeScanPeriod)
	if got := h.heard(n, lease("a"), start.Add(nodeScanPeriod)); !got.Equal(start) {
		t.Errorf("heard at %s, but nothing came", got)
	}
	woke := start.Add(time.Hour) // the machine slept
	h.scanned(woke, nodeScanPeriod)
	if got := h.heard(n, lease("a"), woke); !got.Equal(woke) {
		t.Errorf("silence while this process could hear nothing counts: %s", got)
	}
}

// TestHeartbeatsOfAReturningNode has the status of a node come back before its lease is seen, and without a time.
func TestHeartbeatsOfAReturningNode(t *testing.T) {
	h, start, n := newHeartbeats(), time.Unix(1000, 0), worker("a")
	h.heard(n, lease("a"), start)
	silent := n.DeepCopy()
	silent.Status.Conditions = unknownConditions(n.Status.Conditions, metav1.NewTime(start))
	if got := h.heard(silent, lease("a"), start.Add(time.Minute)); !got.Equal(start) {
		t.Error("our own verdict counts as a sign of life")
	}
	back := start.Add(time.Hour)
	if got := h.heard(n, lease("a"), back); !got.Equal(back) {
		t.Error("a node that says that it is ready is not heard")
	}
}

func TestUserTaintEvictsAtOnce(t *testing.T) {
	inCluster(t, func(w *world) {
		edit(w, worker("a"), func(n *corev1.Node) {
			now := metav1.NewTime(time.Now())
			n.Spec.Taints = []corev1.Taint{{Key: "drain", Effect: corev1.TaintEffectNoExecute, TimeAdded: &now}}
		})
		w.settle(time.Second)
		if get(w, podOn("a", "p")).DeletionTimestamp == nil {
			t.Error("not evicted")
		}
		if get(w, podOn("a", "q")).DeletionTimestamp != nil {
			t.Error("evicted though it tolerates the taint")
		}
	}, 1, podOn("a", "p"), podOn("a", "q", func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}))
}

func TestPodGC(t *testing.T) {
	held := func(p *corev1.Pod) { p.Finalizers = []string{"example.com/hold"} }
	inCluster(t, func(w *world) {
		if !w.exists(podOn("lost", "stranded")) {
			t.Fatal("a node that is missing for a moment loses its pods")
		}
		unplaced := w.create(podOn("", "unplaced", held))
		w.delete(unplaced, metav1.DeletePropagationBackground)
		w.beat(2*time.Minute, "a")
		if w.exists(podOn("lost", "stranded")) {
			t.Error("a pod of a node that is gone is still there")
		}
		if !w.exists(podOn("a", "fine")) {
			t.Error("a pod of a living node was removed")
		}
		p := get(w, podOn("lost", "held"))
		if c := podCondition(p, corev1.DisruptionTarget); p.Status.Phase != corev1.PodFailed || c == nil || c.Reason != "DeletionByPodGC" {
			t.Errorf("status %+v", p.Status)
		}
		if p := get(w, podOn("", "unplaced")); p.Status.Phase != corev1.PodFailed {
			t.Errorf("a pod that was deleted before it had a node stays %s", p.Status.Phase)
		}
	}, 1, podOn("a", "fine"), podOn("lost", "stranded"), podOn("lost", "held", held))
}

func TestPodGCWaitsForANodeThatReturns(t *testing.T) {
	inCluster(t, func(w *world) {
		w.beat(30*time.Second, "a")
		w.create(worker("b")) // registers again
		w.beat(10*time.Minute, "a")
		if !w.exists(podOn("b", "p")) {
			t.Error("the pod was removed though its node came back")
		}
	}, 1, podOn("b", "p", func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}))
}

func TestPodGCOutOfService(t *testing.T) {
	inCluster(t, func(w *world) {
		w.beat(2*time.Minute, "a")
		w.delete(podOn("b", "p"), metav1.DeletePropagationBackground)
		w.beat(time.Minute, "a")
		if !w.exists(podOn("b", "p")) {
			t.Fatal("removed though its node may still run it")
		}
		edit(w, worker("b"), func(n *corev1.Node) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute})
		})
		w.beat(time.Minute, "a")
		if w.exists(podOn("b", "p")) {
			t.Error("not removed though its node is out of service")
		}
	}, 2, podOn("b", "p"))
}

func TestSurplus(t *testing.T) {
	var pods []*corev1.Pod
	for i := range 10 {
		p := podOn("a", fmt.Sprint("p", i))
		p.CreationTimestamp = metav1.NewTime(time.Unix(int64(100-i), 0))
		if i > 2 {
			p.Status.Phase = corev1.PodSucceeded
		}
		pods = append(pods, p)
	}
	if got := surplus(pods, 7); got != nil {
		t.Errorf("%d pods beyond the threshold", len(got))
	}
	got := surplus(pods, 5)
	if len(got) != 2 || got[0].Name != "p9" || got[1].Name != "p8" {
		t.Errorf("got %v, want the oldest two", got)
	}
}

func TestEvictAt(t *testing.T) {
	added := metav1.NewTime(time.Unix(1000, 0))
	taint := func(key string) corev1.Taint {
		return corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute, TimeAdded: &added}
	}
	tolerate := func(key string, seconds ...int64) corev1.Toleration {
		tol := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists}
		if len(seconds) > 0 {
			tol.TolerationSeconds = &seconds[0]
		}
		return tol
	}
	for _, tc := range []struct {
		name        string
		tolerations []corev1.Toleration
		taints      []corev1.Taint
		want        int64 // seconds after the taint; -1 for never
	}{
		{"no taint", nil, nil, -1},
		{"not tolerated", nil, []corev1.Taint{taint("x")}, 0},
		{"tolerated", []corev1.Toleration{tolerate("x")}, []corev1.Taint{taint("x")}, -1},
		{"for a while", []corev1.Toleration{tolerate("x", 60)}, []corev1.Taint{taint("x")}, 60},
		{"the shortest counts", []corev1.Toleration{tolerate("x", 60), tolerate("x", 30), tolerate("x")}, []corev1.Taint{taint("x")}, 30},
		{"the first taint to run out", []corev1.Toleration{tolerate("x", 60), tolerate("y", 20)}, []corev1.Taint{taint("x"), taint("y")}, 20},
		{"a negative patience", []corev1.Toleration{tolerate("x", -5)}, []corev1.Taint{taint("x")}, 0},
		{"a lost node, nothing said", nil, []corev1.Taint{taint(corev1.TaintNodeUnreachable)}, 300},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at, ok := evictAt(&corev1.Pod{Spec: corev1.PodSpec{Tolerations: tc.tolerations}}, tc.taints, 300*time.Second)
			if !ok && tc.want >= 0 || ok && at.Sub(added.Time) != time.Duration(tc.want)*time.Second {
				t.Errorf("leaves %v at %s", ok, at.Sub(added.Time))
			}
		})
	}
}
