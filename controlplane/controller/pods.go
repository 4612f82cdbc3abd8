package controller

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
)

// podFrom makes a pod of a template, controlled by owner. The API server makes up the end of its name.
func podFrom(template *corev1.PodTemplateSpec, owner api.Object, kind schema.GroupVersionKind) *corev1.Pod {
	t := template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			GenerateName:    generateName(owner.GetName()),
			Labels:          t.Labels,
			Annotations:     t.Annotations,
			Finalizers:      t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)},
		},
		Spec: t.Spec,
	}
}

// maxGeneratedBase is how much of an owner's name its pods carry: a pod's name is its host name, whose label has at
// most 63 characters, of which the API server's random end takes five and the dash one.
const maxGeneratedBase = 57

func generateName(owner string) string {
	return owner[:min(len(owner), maxGeneratedBase)] + "-"
}

// finished tells whether a pod's containers have ended for good.
func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// podCondition finds a condition by type; nil when it is missing.
func podCondition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// ready tells whether a pod takes traffic.
func ready(pod *corev1.Pod) bool {
	c := podCondition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// availableIn tells when a pod will have been ready for minReady: zero or less means that it is available now. ok is
// false for a pod that is not ready at all.
func availableIn(pod *corev1.Pod, minReady time.Duration, now time.Time) (wait time.Duration, ok bool) {
	c := podCondition(pod, corev1.PodReady)
	if c == nil || c.Status != corev1.ConditionTrue {
		return 0, false
	}
	if minReady == 0 {
		return 0, true
	}
	if c.LastTransitionTime.IsZero() {
		return minReady, true
	}
	return c.LastTransitionTime.Add(minReady).Sub(now), true
}

// confirm looks up the pods of a view that the cache has not shown for long, and strikes those that no longer exist.
func (l *ledger) confirm(ctx context.Context, e *env, owner types.UID, v *view) error {
	for _, pod := range v.missing {
		fresh, err := e.Client.Get(ctx, named(pod))
		switch {
		case apierrors.IsNotFound(err), err == nil && fresh.GetUID() != pod.UID:
			l.gone(owner, pod.UID, e.Clock.Now())
			v.pods = slices.DeleteFunc(v.pods, func(p *corev1.Pod) bool { return p.UID == pod.UID })
		case err != nil:
			return err
		}
	}
	return nil
}

// namespaceTerminating tells whether a creation failed because its namespace is going: no fault, and nothing to try
// again.
func namespaceTerminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
