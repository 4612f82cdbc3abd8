package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// maxReplicaSetName leaves room for the dash and the hash in a name of 253 characters.
const maxReplicaSetName = 240

// rollout is one step for one Deployment. d is a copy that the step may change.
type rollout struct {
	c    *deployments
	d    *appsv1.Deployment
	sets *setGroup
	now  metav1.Time
}

// act does what the Deployment's spec asks for next.
func (r *rollout) act(ctx context.Context) error {
	if r.d.Spec.Paused {
		if err := r.scale(ctx); err != nil {
			return err
		}
		return r.cleanUp(ctx)
	}
	if r.scaling() {
		return r.scale(ctx)
	}
	if r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return r.recreate(ctx)
	}
	return r.roll(ctx)
}

// roll takes a step of a rolling update.
func (r *rollout) roll(ctx context.Context) error {
	if err := r.ensureCurrent(ctx); err != nil {
		return err
	}
	states := make([]setState, len(r.sets.old))
	for i, rs := range r.sets.old {
		states[i] = stateOf(rs)
	}
	want, wants := planRolling(boundsOf(r.d), stateOf(r.sets.current), states)
	if err := r.resize(ctx, r.sets.current, want); err != nil {
		return err
	}
	for i, rs := range slices.Clone(r.sets.old) {
		if wants[i] == states[i].want {
			continue
		}
		if err := r.resize(ctx, rs, wants[i]); err != nil {
			return err
		}
	}
	return r.cleanUp(ctx)
}

// recreate takes all old pods down, waits until none is left, and only then brings up the new ones.
func (r *rollout) recreate(ctx context.Context) error {
	for _, rs := range slices.Clone(r.sets.old) {
		if ptr.Deref(rs.Spec.Replicas, 1) > 0 {
			if err := r.resize(ctx, rs, 0); err != nil {
				return err
			}
		}
	}
	for _, rs := range r.sets.old {
		if !emptied(rs) {
			return nil // its status will change
		}
	}
	if err := r.ensureCurrent(ctx); err != nil {
		return err
	}
	if err := r.resize(ctx, r.sets.current, ptr.Deref(r.d.Spec.Replicas, 1)); err != nil {
		return err
	}
	return r.cleanUp(ctx)
}

// emptied tells whether a ReplicaSet that was scaled to zero has no pod left, terminating ones included. Its status
// counts only once its controller has seen the new number.
func emptied(rs *appsv1.ReplicaSet) bool {
	return rs.Status.ObservedGeneration >= rs.Generation && rs.Status.Replicas == 0 &&
		ptr.Deref(rs.Status.TerminatingReplicas, 0) == 0
}

// ensureCurrent makes the ReplicaSet of the present template, or brings its annotations and minReadySeconds up to
// date, and writes the Deployment's revision.
func (r *rollout) ensureCurrent(ctx context.Context) error {
	if r.sets.current == nil {
		if err := r.create(ctx); err != nil {
			return err
		}
	} else {
		before := revision(r.sets.current)
		changed := r.sets.current.DeepCopy()
		touched := r.sets.annotate(r.d, changed)
		if changed.Spec.MinReadySeconds != r.d.Spec.MinReadySeconds {
			changed.Spec.MinReadySeconds = r.d.Spec.MinReadySeconds
			touched = true
		}
		if touched {
			if err := r.write(ctx, changed); err != nil {
				return err
			}
		}
		r.found(revision(changed) != before)
	}
	return r.noteRevision(ctx)
}

// noteRevision copies the revision to the Deployment, where kubectl rollout status and history look.
func (r *rollout) noteRevision(ctx context.Context) error {
	rev := r.sets.current.Annotations[annotationRevision]
	if r.d.Annotations[annotationRevision] == rev {
		return nil
	}
	changed := r.d.DeepCopy()
	if changed.Annotations == nil {
		changed.Annotations = make(map[string]string)
	}
	changed.Annotations[annotationRevision] = rev
	stored, err := r.c.env.Client.Update(ctx, changed)
	if err != nil {
		return fmt.Errorf("write revision of deployment: %w", err)
	}
	status := r.d.Status // what this step found out and has not written yet
	r.d = stored.(*appsv1.Deployment).DeepCopy()
	r.d.Status = status
	return nil
}

// create makes the ReplicaSet of the present template, as large as the surge allows.
func (r *rollout) create(ctx context.Context) error {
	hash, err := templateHash(&r.d.Spec.Template, r.d.Status.CollisionCount)
	if err != nil {
		return err
	}
	rs := r.newSet(hash)
	stored, err := r.c.env.Client.Create(ctx, rs)
	switch {
	case apierrors.IsAlreadyExists(err):
		return r.taken(ctx, rs)
	case namespaceTerminating(err):
		return err
	case err != nil:
		r.progress(false, reasonCreateError, err.Error())
		r.c.env.warn(r.d, reasonCreateError, "Failed to create new replica set %q: %v", rs.Name, err)
		_, statusErr := r.writeStatus(ctx)
		return errors.Join(fmt.Errorf("create replicaset: %w", err), statusErr)
	}
	r.sets.current = stored.(*appsv1.ReplicaSet)
	r.c.own.created(r.sets.current, r.cached(r.sets.current), r.now.Time)
	if size := ptr.Deref(rs.Spec.Replicas, 0); size > 0 {
		r.c.env.event(r.d, reasonScaled, "Scaled up replica set %s from 0 to %d", rs.Name, size)
	}
	r.progress(true, reasonNewSet, fmt.Sprintf("Created new replica set %q", rs.Name))
	return nil
}

// newSet builds the ReplicaSet of the present template.
func (r *rollout) newSet(hash string) *appsv1.ReplicaSet {
	template := r.d.Spec.Template.DeepCopy()
	if template.Labels == nil {
		template.Labels = make(map[string]string)
	}
	template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	selector := r.d.Spec.Selector.DeepCopy()
	if selector.MatchLabels == nil {
		selector.MatchLabels = make(map[string]string)
	}
	selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	b := boundsOf(r.d)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.d.Namespace, Name: r.d.Name[:min(len(r.d.Name), maxReplicaSetName)] + "-" + hash,
			Labels:          maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r.d, deploymentKind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			MinReadySeconds: r.d.Spec.MinReadySeconds, Selector: selector, Template: *template,
		},
	}
	states := make([]setState, len(r.sets.old))
	for i, old := range r.sets.old {
		states[i] = stateOf(old)
	}
	size := b.desired
	if r.d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		size, _ = planRolling(b, setState{}, states)
	}
	rs.Spec.Replicas = ptr.To(size)
	r.sets.annotate(r.d, rs)
	setScaleAnnotations(rs, b.desired, b.most)
	return rs
}

// taken deals with a name that exists: the ReplicaSet is our own and the cache is behind, or a stranger's, for which
// the hash is made anew.
func (r *rollout) taken(ctx context.Context, rs *appsv1.ReplicaSet) error {
	found, err := r.c.env.Client.Get(ctx, named(rs))
	if err != nil {
		return fmt.Errorf("read replicaset: %w", err)
	}
	there := found.(*appsv1.ReplicaSet)
	if metav1.IsControlledBy(there, r.d) && sameTemplate(&there.Spec.Template, &r.d.Spec.Template) {
		r.sets.current = there
		r.c.own.created(there, r.cached(there), r.now.Time)
		return nil
	}
	r.d.Status.CollisionCount = ptr.To(ptr.Deref(r.d.Status.CollisionCount, 0) + 1)
	_, err = r.writeStatus(ctx)
	return errors.Join(fmt.Errorf("create replicaset: name %s is taken", rs.Name), err)
}

// resize writes a ReplicaSet's number and what it was scaled for.
func (r *rollout) resize(ctx context.Context, rs *appsv1.ReplicaSet, want int32) error {
	b := boundsOf(r.d)
	was := ptr.Deref(rs.Spec.Replicas, 1)
	changed := rs.DeepCopy()
	changed.Spec.Replicas = ptr.To(want)
	if noted := setScaleAnnotations(changed, b.desired, b.most); was == want && !noted {
		return nil
	}
	if err := r.write(ctx, changed); err != nil {
		return err
	}
	if was != want {
		direction := "up"
		if want < was {
			direction = "down"
		}
		r.c.env.event(r.d, reasonScaled, "Scaled %s replica set %s from %d to %d", direction, rs.Name, was, want)
	}
	return nil
}

// write stores a changed ReplicaSet and goes on with what the API made of it.
func (r *rollout) write(ctx context.Context, changed *appsv1.ReplicaSet) error {
	result, err := r.c.env.Client.Update(ctx, changed)
	if err != nil {
		return fmt.Errorf("update replicaset: %w", err)
	}
	stored := result.(*appsv1.ReplicaSet)
	r.c.own.wrote(stored, r.cached(stored))
	r.sets.replace(stored)
	return nil
}

// cached reads a ReplicaSet as the cache has it.
func (r *rollout) cached(rs *appsv1.ReplicaSet) func() (*appsv1.ReplicaSet, bool) {
	return func() (*appsv1.ReplicaSet, bool) { return lookup[*appsv1.ReplicaSet](r.c.sets, keyOf(rs)) }
}

// cleanUp removes old ReplicaSets beyond the history limit once the rollout is through.
func (r *rollout) cleanUp(ctx context.Context) error {
	limit := ptr.Deref(r.d.Spec.RevisionHistoryLimit, math.MaxInt32)
	if limit == math.MaxInt32 || !r.complete() {
		return nil
	}
	var idle []*appsv1.ReplicaSet
	for _, rs := range r.sets.old {
		if rs.DeletionTimestamp == nil && ptr.Deref(rs.Spec.Replicas, 1) == 0 && emptied(rs) {
			idle = append(idle, rs)
		}
	}
	slices.SortStableFunc(idle, func(a, b *appsv1.ReplicaSet) int { return int(revision(a) - revision(b)) })
	for _, rs := range idle[:max(len(idle)-int(limit), 0)] {
		opts := metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: ptr.To(rs.UID), ResourceVersion: ptr.To(rs.ResourceVersion)},
		}
		err := r.c.env.Client.Delete(ctx, named(rs), opts)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete old replicaset: %w", err)
		}
	}
	return nil
}
