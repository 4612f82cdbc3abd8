package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GuestHealthy is the condition of a pod whose guest a limit or a trap has ended. A pod whose guest never failed does
// not have it.
const GuestHealthy corev1.PodConditionType = "petrel.run/GuestHealthy"

// healthyAfter is how long a guest has to go without a failure to count as healthy again.
const healthyAfter = time.Minute

// Failure is the last failure of a guest that the runtime told of.
type Failure struct {
	// Reason is a CamelCase word, Message a sentence.
	Reason, Message string
	// At is when it happened.
	At time.Time
}

// health is the condition that follows from the last failure; nil for a pod that has none. The condition's probe time
// is the failure's, so that a worker that starts anew knows when it is over.
func health(v *View, now time.Time) *corev1.PodCondition {
	old := find(v.last().Conditions, GuestHealthy)
	if old == nil {
		old = find(v.Pod.Status.Conditions, GuestHealthy)
	}
	c := corev1.PodCondition{Type: GuestHealthy, Status: corev1.ConditionTrue, ObservedGeneration: v.Pod.Generation}
	f := v.Failure
	switch {
	case f != nil && now.Before(f.At.Add(healthyAfter)):
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, f.Reason, f.Message
		c.LastProbeTime = metav1.NewTime(f.At).Rfc3339Copy()
	case old == nil:
		return nil
	case f == nil && old.Status == corev1.ConditionFalse && now.Before(old.LastProbeTime.Add(healthyAfter)):
		c = *old
	default:
		c.LastProbeTime = old.LastProbeTime
	}
	c.LastTransitionTime = metav1.NewTime(now).Rfc3339Copy()
	if old != nil && old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	return &c
}

// HealthyAt is when the status becomes another because the guest counts as healthy again; zero for never.
func HealthyAt(v *View, now time.Time) time.Time {
	var failed time.Time
	if v.Failure != nil {
		failed = v.Failure.At
	} else if old := find(v.last().Conditions, GuestHealthy); old != nil && old.Status == corev1.ConditionFalse {
		failed = old.LastProbeTime.Time
	}
	if at := failed.Add(healthyAfter); !failed.IsZero() && at.After(now) {
		return at
	}
	return time.Time{}
}
