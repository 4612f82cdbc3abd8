package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

// jobWorkers is how many Jobs are worked on at once.
const jobWorkers = 4

var jobKind = batchv1.SchemeGroupVersion.WithKind("Job")

// jobs runs pods to completion as often as a Job asks for, and counts each exactly once.
type jobs struct {
	*loop[types.NamespacedName]
	objects, pods cache.Indexer
	ledger        *ledger
	// ownPods and ownJobs hold what this controller wrote, until the caches have caught up: a pod whose finalizer was
	// taken off a moment ago must not count again.
	ownPods *latest[*corev1.Pod]
	ownJobs *latest[*batchv1.Job]
}

func newJobs(e *env) (controller, error) {
	err := e.addIndexers(podsResource, cache.Indexers{indexController: byController, indexTracked: byTrackingJob})
	if err != nil {
		return nil, err
	}
	err = e.addIndexers(jobsResource, cache.Indexers{indexNamespace: cache.MetaNamespaceIndexFunc})
	if err != nil {
		return nil, err
	}
	c := &jobs{
		objects: e.indexer(jobsResource), pods: e.indexer(podsResource), ledger: newLedger(),
		ownPods: newLatest[*corev1.Pod](), ownJobs: newLatest[*batchv1.Job](),
	}
	c.loop = &loop[types.NamespacedName]{
		env: e, title: "job", workers: jobWorkers, reconcile: c.step,
		sources: []source[types.NamespacedName]{
			{gvr: jobsResource, handle: c.onJob},
			{gvr: podsResource, handle: c.onPod},
		},
	}
	return c, nil
}

func (c *jobs) onJob(ch change) {
	c.ownJobs.observe(ch)
	if ch.new == nil {
		c.ledger.forget(ch.old.GetUID())
	}
	c.add(keyOf(ch.object()))
	if job, ok := ch.new.(*batchv1.Job); !ok || job.DeletionTimestamp != nil || jobFinished(job) != nil {
		c.add(types.NamespacedName{Namespace: ch.object().GetNamespace()}) // pods it might have adopted
	}
}

func (c *jobs) onPod(ch change) {
	c.ledger.observe(ch)
	c.ownPods.observe(ch)
	for _, obj := range []api.Object{ch.old, ch.new} {
		if obj == nil {
			continue
		}
		ref := metav1.GetControllerOfNoCopy(obj)
		switch {
		case ref != nil && ref.Kind == jobKind.Kind:
			c.addBatched(types.NamespacedName{Namespace: obj.GetNamespace(), Name: ref.Name})
		case ref == nil && ch.new != nil:
			c.onOrphan(obj)
		}
	}
}

// onOrphan has the Jobs looked at that may want a pod without a controller, and the pod itself when it still has the
// finalizer of a Job that let it go.
func (c *jobs) onOrphan(pod api.Object) {
	for _, job := range byIndex[*batchv1.Job](c.objects, indexNamespace, pod.GetNamespace()) {
		selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.GetLabels())) {
			c.add(keyOf(job))
		}
	}
	if slices.Contains(pod.GetFinalizers(), batchv1.JobTrackingFinalizer) {
		c.add(types.NamespacedName{Namespace: pod.GetNamespace()})
	}
}

// step takes one Job a step further.
func (c *jobs) step(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	job, ok := lookup[*batchv1.Job](c.objects, key)
	if err := c.freeStrays(ctx, key, job); err != nil || !ok {
		return 0, err
	}
	if by := job.Spec.ManagedBy; by != nil && *by != batchv1.JobControllerName {
		return 0, nil
	}
	job = c.ownJobs.newest(job)
	if jobFinished(job) != nil {
		return c.retire(ctx, job)
	}
	v, err := c.look(ctx, job)
	if err != nil {
		return 0, err
	}
	plan := planJob(job, v, c.env.now())
	return c.carryOut(ctx, job, v, plan)
}

// look reads a Job's pods, own writes included.
func (c *jobs) look(ctx context.Context, job *batchv1.Job) (*view, error) {
	own := c.ownPods.before(func(pod *corev1.Pod) bool { return metav1.IsControlledBy(pod, job) })
	v := c.ledger.look(job.UID, c.env.Clock.Now(), func() []*corev1.Pod {
		return byIndex[*corev1.Pod](c.pods, indexController, string(job.UID))
	})
	for i, pod := range v.pods {
		v.pods[i] = own.newest(pod)
	}
	if err := c.ledger.confirm(ctx, c.env, job.UID, v); err != nil {
		return nil, fmt.Errorf("confirm pods: %w", err)
	}
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil || selector.Empty() {
		return v, nil // the API gives every Job a selector; without one nothing is adopted
	}
	claim := claimer[*corev1.Pod]{
		env: c.env, owner: job, kind: jobKind, selector: selector, prepare: track, undo: untrack,
	}
	v.pods, err = claim.claim(ctx, append(v.pods, byIndex[*corev1.Pod](c.pods, indexController, orphansOf(job.Namespace))...))
	return v, err
}

// carryOut acts on a plan. The order is what makes the counts exact: finalizers go only after the status that
// accounts for their pods is stored.
func (c *jobs) carryOut(ctx context.Context, job *batchv1.Job, v *view, plan *jobPlan) (time.Duration, error) {
	c.env.Logger.Debug("job step", "job", keyOf(job), "create", len(plan.create), "drop", len(plan.drop),
		"stop", len(plan.stop), "account", len(plan.accounted))
	made, failure := c.createPods(ctx, job, plan.create)
	plan.status.Active += int32(made)
	if err := c.removePods(ctx, job, plan); err != nil && failure == nil {
		failure = err
	}
	if err := c.writeStatus(ctx, job, plan); err != nil {
		return 0, err
	}
	_, err := together(0, len(plan.accounted), func(i int) error {
		return c.free(ctx, plan.accounted[i])
	})
	if err != nil {
		return 0, err
	}
	again := plan.again
	if v.unseen || made > 0 {
		again = sooner(again, ledgerPatience+time.Millisecond)
	}
	if len(plan.accounted) > 0 {
		again = sooner(again, time.Millisecond) // the next step counts them
	}
	return again, failure
}

// createPods makes a pod for each entry and tells how many came to be.
func (c *jobs) createPods(ctx context.Context, job *batchv1.Job, indexes []int) (int, error) {
	done, err := slowStart(len(indexes), func(i int) error {
		pod := podFrom(&job.Spec.Template, job, jobKind)
		track(pod)
		if indexes[i] != noIndex {
			setIndex(pod, job.Name, indexes[i])
		}
		c.ledger.creating(job.UID)
		stored, err := c.env.Client.Create(ctx, pod)
		if err != nil {
			c.ledger.notCreated(job.UID)
			if !namespaceTerminating(err) {
				c.env.warn(job, reasonFailedCreate, "Error creating: %v", err)
			}
			return fmt.Errorf("create pod: %w", err)
		}
		c.ledger.created(job.UID, stored.(*corev1.Pod), c.env.Clock.Now())
		c.env.event(job, reasonSuccessfulCreate, "Created pod: %s", stored.GetName())
		return nil
	})
	return done, ignoreTerminating(err)
}

// removePods deletes what the plan drops and stops. A dropped pod loses its finalizer first: it counts as nothing.
func (c *jobs) removePods(ctx context.Context, job *batchv1.Job, plan *jobPlan) error {
	pods := slices.Concat(plan.drop, plan.stop)
	_, err := together(0, len(pods), func(i int) error {
		pod := pods[i]
		if i < len(plan.drop) {
			if err := c.free(ctx, pod); err != nil {
				return err
			}
		}
		err := c.env.Client.Delete(ctx, named(pod), metav1.DeleteOptions{
			Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			c.env.warn(job, reasonFailedDelete, "Error deleting: %v", err)
			return fmt.Errorf("delete pod: %w", err)
		}
		c.ledger.deleted(job.UID, pod.UID, c.env.Clock.Now())
		if err == nil {
			c.env.event(job, reasonSuccessfulDelete, "Deleted pod: %s", pod.Name)
		}
		return nil
	})
	return err
}

// free takes the tracking finalizer off a pod.
func (c *jobs) free(ctx context.Context, pod *corev1.Pod) error {
	if !tracked(pod) {
		return nil
	}
	changed := pod.DeepCopy()
	untrack(changed)
	stored, err := c.env.Client.Update(ctx, changed)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("free pod %s: %w", pod.Name, err)
	}
	key := keyOf(pod)
	c.ownPods.wrote(stored.(*corev1.Pod), func() (*corev1.Pod, bool) { return lookup[*corev1.Pod](c.pods, key) })
	return nil
}

func track(pod *corev1.Pod) {
	if !tracked(pod) {
		pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
	}
}

func untrack(pod *corev1.Pod) {
	pod.Finalizers = slices.DeleteFunc(pod.Finalizers, func(f string) bool { return f == batchv1.JobTrackingFinalizer })
}

// writeStatus stores the planned status when it differs, and tells people of what was decided.
func (c *jobs) writeStatus(ctx context.Context, job *batchv1.Job, plan *jobPlan) error {
	if equality.Semantic.DeepEqual(job.Status, plan.status) {
		return nil
	}
	changed := job.DeepCopy()
	changed.Status = plan.status
	result, err := c.env.Client.UpdateStatus(ctx, changed)
	if err != nil {
		return fmt.Errorf("update status of job: %w", err)
	}
	stored := result.(*batchv1.Job)
	key := keyOf(job)
	c.ownJobs.wrote(stored, func() (*batchv1.Job, bool) { return lookup[*batchv1.Job](c.objects, key) })
	if end := jobFinished(stored); end != nil {
		if end.Type == batchv1.JobFailed {
			c.env.warn(job, end.Reason, "%s", end.Message)
		} else {
			c.env.event(job, "Completed", "Job completed")
		}
	}
	return nil
}

// retire frees what is left of a finished Job's pods, and deletes the Job when its time to live is over.
func (c *jobs) retire(ctx context.Context, job *batchv1.Job) (time.Duration, error) {
	for _, pod := range byIndex[*corev1.Pod](c.pods, indexController, string(job.UID)) {
		if err := c.free(ctx, c.ownPods.newest(pod)); err != nil {
			return 0, err
		}
	}
	if job.Spec.TTLSecondsAfterFinished == nil || job.DeletionTimestamp != nil {
		return 0, nil
	}
	if left := ttlLeft(job, c.env.Clock.Now()); left > 0 {
		return left, nil
	}
	// The time to live may have been changed a moment ago: decide on a fresh read.
	found, err := c.env.Client.Get(ctx, named(job))
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read finished job: %w", err)
	}
	fresh := found.(*batchv1.Job)
	if fresh.UID != job.UID || fresh.Spec.TTLSecondsAfterFinished == nil || jobFinished(fresh) == nil {
		return 0, nil
	}
	if left := ttlLeft(fresh, c.env.Clock.Now()); left > 0 {
		return left, nil
	}
	err = c.env.Client.Delete(ctx, named(job), metav1.DeleteOptions{
		Preconditions:     &metav1.Preconditions{UID: &fresh.UID, ResourceVersion: &fresh.ResourceVersion},
		PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("delete finished job: %w", err)
	}
	return 0, nil
}

func ttlLeft(job *batchv1.Job, now time.Time) time.Duration {
	ttl := time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second
	return jobFinished(job).LastTransitionTime.Add(ttl).Sub(now)
}
