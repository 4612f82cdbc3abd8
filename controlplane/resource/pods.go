package resource

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/petrelrun/petrel/controlplane/store"
)

// Bind assigns a pod to a node, once: a pod that has a node, or is being deleted, is a Conflict.
func (r *Registry) Bind(ctx context.Context, call Call, b *corev1.Binding) error {
	if err := checkBinding(call, b); err != nil {
		return err
	}
	d := pods()
	pre := store.Preconditions{}
	if b.UID != "" {
		pre.UID = &b.UID
	}
	_, _, err := r.store.Update(ctx, d.Stored, call.Namespace, call.Name, pre,
		func(current runtime.Object) (runtime.Object, store.Verdict, error) {
			pod := current.(*corev1.Pod)
			if err := mayBind(d, pod); err != nil {
				return nil, store.Keep, err
			}
			if call.DryRun {
				return pod, store.Keep, nil
			}
			pod.Spec.NodeName = b.Target.Name
			pod.Status.NominatedNodeName = ""
			if len(b.Annotations) > 0 {
				if pod.Annotations == nil {
					pod.Annotations = map[string]string{}
				}
				maps.Copy(pod.Annotations, b.Annotations)
			}
			setScheduled(pod, r.now())
			return pod, store.Put, nil
		})
	return err
}

func checkBinding(call Call, b *corev1.Binding) error {
	var errs field.ErrorList
	if k := b.Target.Kind; k != "" && k != "Node" {
		errs = append(errs, field.NotSupported(field.NewPath("target", "kind"), k, []string{"Node"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(field.NewPath("target", "name"), "the node's name"))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Binding").GroupKind(), call.Name, errs)
	}
	if b.Name != "" && b.Name != call.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("the binding is named %q, but the request is for pod %q", b.Name, call.Name))
	}
	if b.Namespace != "" && b.Namespace != call.Namespace {
		return apierrors.NewBadRequest(fmt.Sprintf("the binding is in namespace %q, but the request is for %q", b.Namespace, call.Namespace))
	}
	return nil
}

func mayBind(d *Definition, pod *corev1.Pod) error {
	switch {
	case pod.DeletionTimestamp != nil:
		return apierrors.NewConflict(d.GR(), pod.Name, fmt.Errorf("pod %s is being deleted and cannot be assigned to a node", pod.Name))
	case pod.Spec.NodeName != "":
		return apierrors.NewConflict(d.GR(), pod.Name, fmt.Errorf("pod %s is already assigned to node %q", pod.Name, pod.Spec.NodeName))
	case len(pod.Spec.SchedulingGates) > 0:
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s has scheduling gates that are not removed yet", pod.Name))
	}
	return nil
}

func setScheduled(pod *corev1.Pod, now metav1.Time) {
	want := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now, ObservedGeneration: pod.Generation,
	}
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type != corev1.PodScheduled {
			continue
		}
		if c.Status == corev1.ConditionTrue {
			want.LastTransitionTime = c.LastTransitionTime
		}
		*c = want
		return
	}
	pod.Status.Conditions = append(pod.Status.Conditions, want)
}

// Evict deletes a pod on behalf of somebody who empties a node. There are no disruption budgets yet, so an eviction
// is a deletion with the pod's grace.
func (r *Registry) Evict(ctx context.Context, call Call, e *policyv1.Eviction) error {
	if e.Name != "" && e.Name != call.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("the eviction is named %q, but the request is for pod %q", e.Name, call.Name))
	}
	if e.Namespace != "" && e.Namespace != call.Namespace {
		return apierrors.NewBadRequest(fmt.Sprintf("the eviction is in namespace %q, but the request is for %q", e.Namespace, call.Namespace))
	}
	opts := metav1.DeleteOptions{}
	if e.DeleteOptions != nil {
		opts = *e.DeleteOptions
	}
	call.DryRun = call.DryRun || len(opts.DryRun) > 0
	_, _, err := r.Delete(ctx, pods(), call, opts)
	return err
}
