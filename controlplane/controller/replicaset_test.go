package controller

import (
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

var onlyReplicaSets = []build{newReplicaSets}

func TestReplicaSetMakesPods(t *testing.T) {
	inWorld(t, onlyReplicaSets, func(w *world) {
		pods := w.pods()
		if len(pods) != 3 {
			t.Fatalf("%d pods, want 3", len(pods))
		}
		for _, p := range pods {
			ref := metav1.GetControllerOf(p)
			if ref == nil || ref.Kind != "ReplicaSet" || ref.Name != "web" || !*ref.BlockOwnerDeletion ||
				p.GenerateName != "web-" || p.Labels["app"] != "web" {
				t.Errorf("pod %+v", p.ObjectMeta)
			}
		}
		w.run(pods[0])
		w.settle(time.Second)
		rs := get(w, replicaSet(3))
		if s := rs.Status; s.Replicas != 3 || s.FullyLabeledReplicas != 3 || s.ReadyReplicas != 1 || s.AvailableReplicas != 1 ||
			s.ObservedGeneration != rs.Generation || ptr.Deref(s.TerminatingReplicas, -1) != 0 {
			t.Errorf("status %+v", s)
		}
		w.end(pods[0], corev1.PodFailed) // is replaced and kept for whoever wants to see why
		w.kill(pods[1])
		w.settle(time.Second)
		if n := len(w.live()); n != 3 {
			t.Errorf("%d live pods, want 3", n)
		}
	}, replicaSet(3))
}

// TestReplicaSetOnALaggingCache scales up and down while the pod cache is far behind: not one pod too many is made or
// deleted.
func TestReplicaSetOnALaggingCache(t *testing.T) {
	inWorld(t, onlyReplicaSets, func(w *world) {
		w.mu.Lock()
		w.lag[podsResource] = 20 * time.Second
		w.mu.Unlock()
		for _, want := range []int32{7, 40, 12, 13, 0, 5} {
			edit(w, replicaSet(0), func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = ptr.To(want) })
			w.settle(3 * time.Second) // the cache shows nothing of it yet
			if n := len(w.live()); n != int(want) {
				t.Errorf("%d pods, want %d", n, want)
			}
		}
		w.settle(time.Minute)
		if n, created, deleted := len(w.live()), w.count("create Pod"), w.count("delete Pod"); n != 5 || created != 46 || deleted != 41 {
			t.Errorf("%d pods after %d creations and %d deletions, want 5, 46 and 41", n, created, deleted)
		}
		if s := get(w, replicaSet(0)).Status; s.Replicas != 5 {
			t.Errorf("status %+v", s)
		}
	}, replicaSet(0))
}

func TestReplicaSetThousandPods(t *testing.T) {
	inWorld(t, onlyReplicaSets, func(w *world) {
		w.mu.Lock()
		w.latency = time.Millisecond
		w.mu.Unlock()
		edit(w, replicaSet(0), func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = ptr.To[int32](1000) })
		w.settle(500 * time.Millisecond)
		if n, created := len(w.pods()), w.count("create Pod"); n != 1000 || created != 1000 {
			t.Errorf("%d pods after half a second and %d creations, want 1000", n, created)
		}
		if writes := w.count("status ReplicaSet"); writes > 50 {
			t.Errorf("%d status writes for a thousand pods", writes)
		}
		edit(w, replicaSet(0), func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = ptr.To[int32](0) })
		w.settle(500 * time.Millisecond)
		if n := len(w.pods()); n != 0 {
			t.Errorf("%d pods are left", n)
		}
	}, replicaSet(0))
}

// TestReplicaSetSlowStart has every creation refused: one refusal a step is enough to see that.
func TestReplicaSetSlowStart(t *testing.T) {
	inWorld(t, onlyReplicaSets, func(w *world) {
		w.setFault(func(verb string, obj api.Object) error {
			if verb == "create" {
				return errors.New("quota is used up")
			}
			return nil
		})
		edit(w, replicaSet(0), func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = ptr.To[int32](500) })
		w.settle(10 * time.Second)
		if n := w.count("create Pod"); n == 0 || n > 20 {
			t.Errorf("%d creations were tried in ten seconds", n)
		}
		c := get(w, replicaSet(0)).Status.Conditions
		if len(c) != 1 || c[0].Type != appsv1.ReplicaSetReplicaFailure || c[0].Status != corev1.ConditionTrue || c[0].Reason != reasonFailedCreate {
			t.Errorf("conditions %+v", c)
		}
		if !w.hadEvent("Warning FailedCreate") {
			t.Error("no event tells of it")
		}
		w.setFault(nil)
		w.settle(lastRetry + time.Second)
		if n := len(w.pods()); n != 500 {
			t.Errorf("%d pods after the quota was raised", n)
		}
		if c := get(w, replicaSet(0)).Status.Conditions; len(c) != 0 {
			t.Errorf("conditions stay: %+v", c)
		}
	}, replicaSet(0))
}

func TestReplicaSetAdoptsAndReleases(t *testing.T) {
	stranger := func(name string, labels map[string]string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels}}
	}
	inWorld(t, onlyReplicaSets, func(w *world) {
		if n := len(w.pods()); n != 3 { // the match was adopted, the other is none of its business
			t.Fatalf("%d pods, want 3", n)
		}
		if ref := metav1.GetControllerOf(get(w, stranger("match", nil))); ref == nil || ref.Name != "web" {
			t.Errorf("not adopted: %+v", ref)
		}
		if metav1.GetControllerOf(get(w, stranger("other", nil))) != nil {
			t.Error("adopted what does not match")
		}
		edit(w, stranger("match", nil), func(p *corev1.Pod) { p.Labels = map[string]string{"app": "debug"} })
		w.settle(time.Second)
		if metav1.GetControllerOf(get(w, stranger("match", nil))) != nil {
			t.Error("what does not match any more was not released")
		}
		if n := len(w.pods()); n != 4 {
			t.Errorf("%d pods, want 4: the released one was replaced", n)
		}
		w.create(stranger("late", web))
		w.settle(time.Second)
		if n := len(w.pods()); n != 4 { // one too many for two replicas: one was deleted
			t.Errorf("%d pods, want 4", n)
		}
	}, stranger("match", web), stranger("other", map[string]string{"app": "x"}), replicaSet(2))
}

// TestReplicaSetThatGoesAdoptsNothing is being deleted though its cache does not show it yet.
func TestReplicaSetThatGoesAdoptsNothing(t *testing.T) {
	rs := replicaSet(1)
	rs.Finalizers = []string{"example.com/hold"}
	inWorld(t, onlyReplicaSets, func(w *world) {
		w.mu.Lock()
		w.lag[replicaSetsResource] = time.Hour
		w.mu.Unlock()
		w.delete(rs, metav1.DeletePropagationBackground)
		orphan := w.create(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan", Labels: web}})
		w.settle(time.Minute)
		if metav1.GetControllerOf(get(w, orphan.(*corev1.Pod))) != nil {
			t.Error("adopted: the garbage collector would take it")
		}
	}, rs)
}

func TestReplicaSetMinReady(t *testing.T) {
	rs := replicaSet(1)
	rs.Spec.MinReadySeconds = 30
	inWorld(t, onlyReplicaSets, func(w *world) {
		w.run(w.pods()[0])
		w.settle(29 * time.Second)
		if s := get(w, rs).Status; s.ReadyReplicas != 1 || s.AvailableReplicas != 0 {
			t.Errorf("after 29 s: %+v", s)
		}
		w.settle(2 * time.Second)
		if s := get(w, rs).Status; s.AvailableReplicas != 1 {
			t.Errorf("after 31 s: %+v", s)
		}
	}, rs)
}

func TestReplicaSetInTerminatingNamespace(t *testing.T) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	inWorld(t, onlyReplicaSets, func(w *world) {
		w.delete(ns, metav1.DeletePropagationBackground)
		edit(w, replicaSet(0), func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = ptr.To[int32](3) })
		w.settle(time.Minute)
		if n := w.count("create Pod"); n > 2 {
			t.Errorf("%d creations were tried in a namespace that is going", n)
		}
		if w.hadEvent("Warning") {
			t.Error("it is told as a failure")
		}
	}, ns, replicaSet(0))
}

func TestRankForDeletion(t *testing.T) {
	at := func(minute int) metav1.Time {
		return metav1.NewTime(time.Date(2026, 3, 1, 12, minute, 0, 0, time.UTC))
	}
	makePod := func(name string, change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: at(0)}}
		p.Spec.NodeName = "node-of-" + name
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: at(1)}}
		change(p)
		return p
	}
	keep := func(*corev1.Pod) {}
	for _, tc := range []struct {
		name   string
		victim func(*corev1.Pod)
	}{
		{"not bound", func(p *corev1.Pod) { p.Spec.NodeName = ""; p.Status.Phase = corev1.PodPending }},
		{"pending", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }},
		{"unknown", func(p *corev1.Pod) { p.Status.Phase = corev1.PodUnknown }},
		{"not ready", func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }},
		{"cheap", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "-1"} }},
		{"ready for a shorter time", func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = at(2) }},
		{"restarted", func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}} }},
		{"newer", func(p *corev1.Pod) { p.CreationTimestamp = at(1) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// By name the victim would come last.
			ranked := rankForDeletion([]*corev1.Pod{makePod("a", keep), makePod("z", tc.victim), makePod("b", keep)})
			if ranked[0].Name != "z" {
				t.Errorf("%s goes first", ranked[0].Name)
			}
		})
	}
	t.Run("the readiness goes before the cost", func(t *testing.T) {
		ranked := rankForDeletion([]*corev1.Pod{
			makePod("a", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "-100"} }),
			makePod("b", func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }),
		})
		if ranked[0].Name != "b" {
			t.Error("a ready pod goes first")
		}
	})
	t.Run("crowded nodes first", func(t *testing.T) {
		crowd := func(p *corev1.Pod) { p.Spec.NodeName = "crowded" }
		ranked := rankForDeletion([]*corev1.Pod{makePod("a", keep), makePod("x", crowd), makePod("y", crowd)})
		if ranked[2].Name != "a" {
			t.Error("the pod that is alone on its node goes before the others")
		}
	})
}

func TestSlowStart(t *testing.T) {
	for _, tc := range []struct {
		count, failFrom, wantDone, mostCalls int
	}{
		{0, 0, 0, 0}, {1, 9, 1, 1}, {100, 1000, 100, 100}, {100, 0, 0, 1}, {100, 1, 1, 3}, {100, 7, 7, 15},
	} {
		calls := make(chan int, 1000)
		done, err := slowStart(tc.count, func(i int) error {
			calls <- i
			if i >= tc.failFrom {
				return fmt.Errorf("call %d", i)
			}
			return nil
		})
		if done != tc.wantDone || len(calls) > tc.mostCalls || (err == nil) != (tc.failFrom >= tc.count) {
			t.Errorf("%+v: %d done, %d calls, error %v", tc, done, len(calls), err)
		}
	}
}
