package controller

import (
	"context"
	"fmt"
	"math"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"
)

// Condition types, and the reasons that kubectl and others read, by Kubernetes' names.
const (
	conditionProgressing = appsv1.DeploymentProgressing
	conditionAvailable   = appsv1.DeploymentAvailable

	reasonScaled           = "ScalingReplicaSet"
	reasonNewSet           = "NewReplicaSetCreated"
	reasonFoundSet         = "FoundNewReplicaSet"
	reasonUpdated          = "ReplicaSetUpdated"
	reasonSetAvailable     = "NewReplicaSetAvailable"
	reasonDeadlineExceeded = "ProgressDeadlineExceeded"
	reasonCreateError      = "ReplicaSetCreateError"
	reasonPaused           = "DeploymentPaused"
	reasonResumed          = "DeploymentResumed"
	reasonEnough           = "MinimumReplicasAvailable"
	reasonTooFew           = "MinimumReplicasUnavailable"
)

// condition finds a condition of the status that the step works on; nil when it is missing.
func (r *rollout) condition(kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range r.d.Status.Conditions {
		if r.d.Status.Conditions[i].Type == kind {
			return &r.d.Status.Conditions[i]
		}
	}
	return nil
}

// setCondition writes a condition; the times move only as far as something changed.
func (r *rollout) setCondition(c appsv1.DeploymentCondition) {
	have := r.condition(c.Type)
	c.LastUpdateTime, c.LastTransitionTime = r.now, r.now
	switch {
	case have == nil:
		r.d.Status.Conditions = append(r.d.Status.Conditions, c)
	case have.Status == c.Status && have.Reason == c.Reason:
		// The same news: the time of the last progress must not move.
	default:
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		*have = c
	}
}

// tracked tells whether the Deployment has a progress deadline.
func (r *rollout) tracked() bool {
	deadline := r.d.Spec.ProgressDeadlineSeconds
	return deadline != nil && *deadline != math.MaxInt32
}

// progress sets the Progressing condition.
func (r *rollout) progress(ok bool, reason, message string) {
	if !r.tracked() {
		return
	}
	status := corev1.ConditionFalse
	if ok {
		status = corev1.ConditionTrue
	}
	r.setCondition(appsv1.DeploymentCondition{Type: conditionProgressing, Status: status, Reason: reason, Message: message})
}

// found notes that the ReplicaSet of the template existed already: again is true when it was an old one until now,
// as after a roll back. The deadline runs anew from here.
func (r *rollout) found(again bool) {
	if again || r.condition(conditionProgressing) == nil {
		r.progress(true, reasonFoundSet, fmt.Sprintf("Found new replica set %q", r.sets.current.Name))
	}
}

// notePause keeps the deadline from running while the Deployment is paused, and starts it again after.
func (r *rollout) notePause() {
	c := r.condition(conditionProgressing)
	if c != nil && c.Reason == reasonDeadlineExceeded {
		return
	}
	paused := c != nil && c.Reason == reasonPaused
	if r.d.Spec.Paused == paused || !r.tracked() {
		return
	}
	reason, message := reasonResumed, "Deployment is resumed"
	if r.d.Spec.Paused {
		reason, message = reasonPaused, "Deployment is paused"
	}
	r.setCondition(appsv1.DeploymentCondition{
		Type: conditionProgressing, Status: corev1.ConditionUnknown, Reason: reason, Message: message,
	})
}

// complete tells whether all pods are of the present template, available, and no old one is left.
func (r *rollout) complete() bool {
	return completeStatus(r.d, r.counts())
}

func completeStatus(d *appsv1.Deployment, s appsv1.DeploymentStatus) bool {
	want := ptr.Deref(d.Spec.Replicas, 1)
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want
}

// counts sums up the ReplicaSets.
func (r *rollout) counts() appsv1.DeploymentStatus {
	var s appsv1.DeploymentStatus
	var wanted, terminating int32
	for _, rs := range r.sets.all() {
		wanted += ptr.Deref(rs.Spec.Replicas, 1)
		s.Replicas += rs.Status.Replicas
		s.ReadyReplicas += rs.Status.ReadyReplicas
		s.AvailableReplicas += rs.Status.AvailableReplicas
		terminating += ptr.Deref(rs.Status.TerminatingReplicas, 0)
	}
	if r.sets.current != nil {
		s.UpdatedReplicas = r.sets.current.Status.Replicas
	}
	s.UnavailableReplicas = max(wanted-s.AvailableReplicas, 0)
	s.TerminatingReplicas = ptr.To(terminating)
	return s
}

// writeStatus stores the status when it differs, and tells when the progress deadline is next to be looked at.
func (r *rollout) writeStatus(ctx context.Context) (time.Duration, error) {
	before := r.d.Status
	s := r.counts()
	s.ObservedGeneration = r.d.Generation
	s.CollisionCount = before.CollisionCount
	s.Conditions = before.Conditions
	r.d.Status = s
	r.noteAvailability()
	wait := r.noteProgress(before)
	r.noteFailures()
	if stored, ok := lookup[*appsv1.Deployment](r.c.objects, keyOf(r.d)); ok &&
		stored.ResourceVersion == r.d.ResourceVersion && equality.Semantic.DeepEqual(stored.Status, r.d.Status) {
		return wait, nil
	}
	if _, err := r.c.env.Client.UpdateStatus(ctx, r.d.DeepCopy()); err != nil {
		return 0, fmt.Errorf("update status of deployment: %w", err)
	}
	return wait, nil
}
