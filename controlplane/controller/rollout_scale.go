package controller

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"
)

// scaling tells whether the Deployment's number changed since its ReplicaSets were scaled last.
func (r *rollout) scaling() bool {
	for _, rs := range r.active() {
		if was, ok := scaleAnnotation(rs, annotationDesired); ok && was != boundsOf(r.d).desired {
			return true
		}
	}
	return false
}

// active returns the ReplicaSets that have replicas, oldest first.
func (r *rollout) active() []*appsv1.ReplicaSet {
	var active []*appsv1.ReplicaSet
	for _, rs := range r.sets.all() {
		if ptr.Deref(rs.Spec.Replicas, 1) > 0 {
			active = append(active, rs)
		}
	}
	return active
}

// scale follows a change of the Deployment's number without moving the rollout on.
func (r *rollout) scale(ctx context.Context) error {
	b := boundsOf(r.d)
	active := r.active()
	if len(active) <= 1 {
		only := r.newest(active)
		if only == nil {
			return nil
		}
		return r.resize(ctx, only, b.desired)
	}
	if r.sets.current != nil && saturated(r.sets.current, b.desired) {
		for _, rs := range active {
			if rs.UID != r.sets.current.UID {
				if err := r.resize(ctx, rs, 0); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return nil // old ones are on their way to zero already
	}
	return r.scaleProportionally(ctx, b, active)
}

// newest is the one ReplicaSet to scale when at most one has replicas.
func (r *rollout) newest(active []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	if len(active) == 1 {
		return active[0]
	}
	all := r.sets.all()
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

func (r *rollout) scaleProportionally(ctx context.Context, b bounds, active []*appsv1.ReplicaSet) error {
	most := b.most
	if b.desired == 0 {
		most = 0
	}
	shares := make([]share, len(active))
	for i, rs := range active {
		was, _ := scaleAnnotation(rs, annotationMax)
		shares[i] = share{want: ptr.Deref(rs.Spec.Replicas, 1), wasMost: was}
	}
	for i, want := range planProportional(most, shares) {
		if err := r.resize(ctx, active[i], want); err != nil {
			return err
		}
	}
	return nil
}

// saturated tells whether a ReplicaSet alone serves all that the Deployment wants.
func saturated(rs *appsv1.ReplicaSet, desired int32) bool {
	was, ok := scaleAnnotation(rs, annotationDesired)
	return ok && was == desired && ptr.Deref(rs.Spec.Replicas, 1) == desired && rs.Status.AvailableReplicas == desired
}
