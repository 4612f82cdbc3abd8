package controller

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// noteAvailability sets the Available condition: enough pods to stay within maxUnavailable.
func (r *rollout) noteAvailability() {
	c := appsv1.DeploymentCondition{
		Type: conditionAvailable, Status: corev1.ConditionTrue, Reason: reasonEnough,
		Message: "Deployment has minimum availability.",
	}
	if r.d.Status.AvailableReplicas < boundsOf(r.d).least {
		c.Status, c.Reason = corev1.ConditionFalse, reasonTooFew
		c.Message = "Deployment does not have minimum availability."
	}
	r.setCondition(c)
}

// noteProgress sets the Progressing condition by what changed since before, and tells how long until the deadline
// runs out; zero when it does not run.
func (r *rollout) noteProgress(before appsv1.DeploymentStatus) time.Duration {
	if !r.tracked() {
		r.dropCondition(conditionProgressing)
		return 0
	}
	s := r.d.Status
	if c := r.condition(conditionProgressing); c != nil && c.Reason == reasonSetAvailable && s.Replicas == s.UpdatedReplicas {
		return 0 // through; pods that fail later are no rollout
	}
	switch {
	case r.sets.current != nil && completeStatus(r.d, s):
		r.progress(true, reasonSetAvailable, fmt.Sprintf("ReplicaSet %q has successfully progressed.", r.sets.current.Name))
	case moved(before, s):
		r.progress(true, reasonUpdated, r.subject()+" is progressing.")
		r.condition(conditionProgressing).LastUpdateTime = r.now
	case r.overdue():
		r.progress(false, reasonDeadlineExceeded, r.subject()+" has timed out progressing.")
	}
	left, ok := r.left()
	if !ok {
		return 0
	}
	return left + time.Second // the API keeps whole seconds: one more is surely past the deadline
}

// subject is what the messages speak of.
func (r *rollout) subject() string {
	if r.sets.current != nil {
		return fmt.Sprintf("ReplicaSet %q", r.sets.current.Name)
	}
	return fmt.Sprintf("Deployment %q", r.d.Name)
}

// moved tells whether a rollout came forward: more pods of the present template, fewer old ones, or more of all that
// are ready or available.
func moved(before, after appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas ||
		after.AvailableReplicas > before.AvailableReplicas
}

// left is the time until the deadline, negative when it has run out; ok is false while no deadline runs.
func (r *rollout) left() (left time.Duration, ok bool) {
	c := r.condition(conditionProgressing)
	if c == nil || r.d.Spec.Paused || c.Reason == reasonSetAvailable || c.Reason == reasonDeadlineExceeded {
		return 0, false
	}
	deadline := time.Duration(*r.d.Spec.ProgressDeadlineSeconds) * time.Second
	return c.LastUpdateTime.Add(deadline).Sub(r.now.Time), true
}

// overdue tells whether the deadline has run out.
func (r *rollout) overdue() bool {
	left, ok := r.left()
	return ok && left < 0
}

func (r *rollout) dropCondition(kind appsv1.DeploymentConditionType) {
	var kept []appsv1.DeploymentCondition
	for _, c := range r.d.Status.Conditions {
		if c.Type != kind {
			kept = append(kept, c)
		}
	}
	r.d.Status.Conditions = kept
}

// noteFailures passes on that pods of a ReplicaSet cannot be made; the present one's trouble goes before others'.
func (r *rollout) noteFailures() {
	r.dropCondition(appsv1.DeploymentReplicaFailure)
	all := r.sets.all()
	for i := len(all) - 1; i >= 0; i-- {
		for _, c := range all[i].Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
				r.d.Status.Conditions = append(r.d.Status.Conditions, appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastUpdateTime: c.LastTransitionTime, LastTransitionTime: c.LastTransitionTime,
				})
				return
			}
		}
	}
}
