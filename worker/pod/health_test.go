package pod

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

func TestGuestHealth(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a"})
	w.settle()
	if c := find(w.status().Conditions, GuestHealthy); c != nil || !HealthyAt(&w.View, w.now).IsZero() {
		t.Fatalf("a guest that never failed has %+v", c)
	}
	w.Failure = &Failure{Reason: "Trap", Message: "unreachable in f", At: w.now}
	failed := w.status()
	c := find(failed.Conditions, GuestHealthy)
	if c == nil || c.Status != corev1.ConditionFalse || c.Reason != "Trap" || c.Message != "unreachable in f" || !c.LastProbeTime.Time.Equal(w.now) {
		t.Fatalf("condition = %+v", c)
	}
	if at := HealthyAt(&w.View, w.now); !at.Equal(w.now.Add(healthyAfter)) {
		t.Errorf("healthy at %v", at)
	}
	if !Ready(failed) {
		t.Error("a failed request took the pod out of its services")
	}
	w.Last = failed
	w.now = w.now.Add(healthyAfter - time.Second)
	w.Failure = &Failure{Reason: "Trap", Message: "again", At: w.now}
	again := find(w.status().Conditions, GuestHealthy)
	if again.Message != "again" || !again.LastTransitionTime.Equal(&c.LastTransitionTime) {
		t.Errorf("the second failure gives %+v", again)
	}
	w.now = w.now.Add(healthyAfter)
	recovered := w.status()
	c = find(recovered.Conditions, GuestHealthy)
	if c.Status != corev1.ConditionTrue || c.Reason != "" || !c.LastTransitionTime.Time.Equal(w.now) || !HealthyAt(&w.View, w.now).IsZero() {
		t.Errorf("after a minute without: %+v", c)
	}
	w.Last = recovered
	w.now = w.now.Add(time.Hour)
	if later := w.status(); !equality.Semantic.DeepEqual(later, recovered) {
		t.Errorf("nothing happened, yet %+v became %+v", recovered.Conditions, later.Conditions)
	}
}

// A worker that starts anew finds the condition in the API and ends it in its time.
func TestGuestHealthAfterRestart(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a"})
	w.settle()
	w.Failure = &Failure{Reason: "QueueFull", Message: "m", At: w.now}
	w.Pod.Status = *w.status()
	w.Failure = nil
	w.now = w.now.Add(30 * time.Second)
	if c := find(w.status().Conditions, GuestHealthy); c.Status != corev1.ConditionFalse || c.Reason != "QueueFull" {
		t.Errorf("condition = %+v", c)
	}
	if at := HealthyAt(&w.View, w.now); !at.Equal(epoch.Add(healthyAfter)) {
		t.Errorf("healthy at %v", at)
	}
	w.now = epoch.Add(healthyAfter)
	if c := find(w.status().Conditions, GuestHealthy); c.Status != corev1.ConditionTrue {
		t.Errorf("condition = %+v", c)
	}
}
