package controller

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// indexTracked finds the pods with a Job's tracking finalizer by "namespace/job", or "namespace/" when no Job
// controls them.
const indexTracked = "petrel.run/tracked-by-job"

func byTrackingJob(obj any) ([]string, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok || !tracked(pod) {
		return nil, nil
	}
	key := types.NamespacedName{Namespace: pod.Namespace}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil && ref.Kind == jobKind.Kind {
		key.Name = ref.Name
	}
	return []string{key.String()}, nil
}

// freeStrays takes the finalizer off pods whose Job is gone or let them go: nobody would, and they could never be
// deleted. job is nil when the cache has none under key.
func (c *jobs) freeStrays(ctx context.Context, key types.NamespacedName, job *batchv1.Job) error {
	var live types.UID
	if job != nil {
		live = job.UID
	}
	checked := false
	for _, pod := range byIndex[*corev1.Pod](c.pods, indexTracked, key.String()) {
		ref := metav1.GetControllerOfNoCopy(pod)
		if ref == nil && c.wanted(pod) || ref != nil && live != "" && ref.UID == live {
			continue
		}
		if !checked && key.Name != "" {
			uid, err := c.liveJob(ctx, key)
			if err != nil {
				return err
			}
			live, checked = uid, true
			if ref != nil && ref.UID == live {
				continue // the cache does not show the Job yet
			}
		}
		if err := c.free(ctx, c.ownPods.newest(pod)); err != nil {
			return err
		}
	}
	return nil
}

// liveJob reads afresh which Job a name stands for; empty when there is none.
func (c *jobs) liveJob(ctx context.Context, key types.NamespacedName) (types.UID, error) {
	fresh, err := c.env.Client.Get(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read job: %w", err)
	}
	return fresh.GetUID(), nil
}

// wanted tells whether a Job is about to adopt a pod without a controller.
func (c *jobs) wanted(pod *corev1.Pod) bool {
	for _, job := range byIndex[*batchv1.Job](c.objects, indexNamespace, pod.Namespace) {
		selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) &&
			job.DeletionTimestamp == nil && jobFinished(job) == nil && pod.DeletionTimestamp == nil {
			return true
		}
	}
	return false
}
