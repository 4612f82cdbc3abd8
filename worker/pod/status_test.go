package pod

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestConditionsKeepTheirTimes(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a"})
	w.settle()
	first := w.status()
	w.now = w.now.Add(time.Hour)
	if second := w.status(); !equality.Semantic.DeepEqual(first, second) {
		t.Errorf("nothing happened, yet the status changed from %+v to %+v", first, second)
	}
	w.Memory["a"].Ready = false
	third := w.status()
	ready := find(third.Conditions, corev1.PodReady)
	if Ready(third) || !ready.LastTransitionTime.Time.Equal(w.now) || ready.Reason != "ContainersNotReady" {
		t.Errorf("condition = %+v", ready)
	}
	if got := find(third.Conditions, corev1.PodInitialized).LastTransitionTime.Time; !got.Equal(epoch) {
		t.Errorf("Initialized moved to %v without a change", got)
	}
}

func TestForeignConditionsAndGates(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a"})
	w.Pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/gate"}}
	w.settle()
	if s := w.status(); Ready(s) || find(s.Conditions, corev1.ContainersReady).Status != corev1.ConditionTrue {
		t.Errorf("conditions = %+v, want containers ready and the pod not", s.Conditions)
	}
	scheduled := metav1.NewTime(epoch.Add(-time.Hour))
	w.Pod.Status.Conditions = []corev1.PodCondition{
		{Type: "example.com/gate", Status: corev1.ConditionTrue},
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: scheduled},
	}
	s := w.status()
	if !Ready(s) || find(s.Conditions, "example.com/gate") == nil {
		t.Errorf("conditions = %+v, want ready with the gate kept", s.Conditions)
	}
	if got := find(s.Conditions, corev1.PodScheduled).LastTransitionTime; !got.Equal(&scheduled) {
		t.Errorf("PodScheduled moved to %v", got)
	}
}

func TestLostInstancesKeepTheCount(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a"})
	w.Memory["a"].Lost = &Instance{ID: "old", Name: "a", Attempt: 4, State: Exited, ExitCode: 137, Finished: epoch}
	w.now = epoch.Add(time.Hour)
	w.settle()
	if got := w.Newest("a").Attempt; got != 5 {
		t.Errorf("attempt %d after one that the runtime lost, want 5", got)
	}
}
