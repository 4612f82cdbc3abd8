package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ReasonEvicted is that of a pod which its node ended for what it was short of.
const ReasonEvicted = "Evicted"

// disruption is the condition by which controllers tell a pod that its node has evicted from one that failed by itself;
// nil for all others.
func disruption(v *View, now time.Time) *corev1.PodCondition {
	if v.Stopping == nil || v.Stopping.Why.Reason != ReasonEvicted {
		return nil
	}
	c := &corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet,
		Message: v.Stopping.Why.Message, ObservedGeneration: v.Pod.Generation, LastTransitionTime: metav1.NewTime(now).Rfc3339Copy(),
	}
	if old := find(v.last().Conditions, c.Type); old != nil && old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	return c
}
