package controller

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// reasons of the ReplicaFailure condition and of events.
const (
	reasonFailedCreate     = "FailedCreate"
	reasonFailedDelete     = "FailedDelete"
	reasonSuccessfulCreate = "SuccessfulCreate"
	reasonSuccessfulDelete = "SuccessfulDelete"
)

// replicaSetStatus counts the pods. wait, when positive, is when the next pod becomes available by the passage of
// time alone.
func replicaSetStatus(
	rs *appsv1.ReplicaSet, v *view, failure error, failureReason string, now metav1.Time,
) (status appsv1.ReplicaSetStatus, wait time.Duration) {
	status = *rs.Status.DeepCopy()
	status.Replicas, status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0, 0
	var terminating int32
	template := labels.SelectorFromSet(rs.Spec.Template.Labels)
	minReady := time.Duration(rs.Spec.MinReadySeconds) * time.Second
	for _, pod := range v.pods {
		switch {
		case finished(pod):
			continue
		case v.terminating(pod):
			terminating++
			continue
		}
		status.Replicas++
		if template.Matches(labels.Set(pod.Labels)) {
			status.FullyLabeledReplicas++
		}
		in, isReady := availableIn(pod, minReady, now.Time)
		if !isReady {
			continue
		}
		status.ReadyReplicas++
		if in <= 0 {
			status.AvailableReplicas++
		} else if wait == 0 || in < wait {
			wait = in
		}
	}
	status.TerminatingReplicas = ptr.To(terminating)
	status.ObservedGeneration = rs.Generation
	status.Conditions = replicaFailure(status.Conditions, failure, failureReason, now)
	return status, wait
}

// replicaFailure sets the ReplicaFailure condition while pods cannot be made or removed, and drops it after.
func replicaFailure(
	have []appsv1.ReplicaSetCondition, failure error, reason string, now metav1.Time,
) []appsv1.ReplicaSetCondition {
	var kept []appsv1.ReplicaSetCondition
	var since = now
	for _, c := range have {
		if c.Type != appsv1.ReplicaSetReplicaFailure {
			kept = append(kept, c)
		} else if c.Status == corev1.ConditionTrue {
			since = c.LastTransitionTime
		}
	}
	if failure == nil {
		return kept
	}
	return append(kept, appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
		LastTransitionTime: since, Reason: reason, Message: failure.Error(),
	})
}

// writeStatus stores the status when it differs from what rs shows.
func (c *replicaSets) writeStatus(ctx context.Context, rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) error {
	if equality.Semantic.DeepEqual(rs.Status, status) {
		return nil
	}
	changed := rs.DeepCopy()
	changed.Status = status
	if _, err := c.env.Client.UpdateStatus(ctx, changed); err != nil {
		return fmt.Errorf("update status of replicaset: %w", err)
	}
	return nil
}
