package resource

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// scaled is the part of a workload that its Scale shows.
type scaled struct {
	replicas *int32 // where the wanted number stands
	current  int32
	selector *metav1.LabelSelector
}

func scaledPart(obj runtime.Object) (scaled, error) {
	set := func(p **int32) *int32 {
		if *p == nil {
			*p = new(int32)
			**p = 1 // the default of both kinds
		}
		return *p
	}
	switch t := obj.(type) {
	case *appsv1.Deployment:
		return scaled{set(&t.Spec.Replicas), t.Status.Replicas, t.Spec.Selector}, nil
	case *appsv1.ReplicaSet:
		return scaled{set(&t.Spec.Replicas), t.Status.Replicas, t.Spec.Selector}, nil
	}
	return scaled{}, fmt.Errorf("scale %T: it has no replicas", obj)
}

// ScaleOf shows a workload as a Scale. It does not change obj.
func ScaleOf(obj runtime.Object) (*autoscalingv1.Scale, error) {
	obj = obj.DeepCopyObject()
	part, err := scaledPart(obj)
	if err != nil {
		return nil, err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	selector, err := metav1.LabelSelectorAsSelector(part.selector)
	if err != nil {
		return nil, fmt.Errorf("read selector of %s: %w", m.GetName(), err)
	}
	s := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUID(),
			ResourceVersion: m.GetResourceVersion(), CreationTimestamp: m.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: *part.replicas},
		Status: autoscalingv1.ScaleStatus{Replicas: part.current, Selector: selector.String()},
	}
	s.SetGroupVersionKind(scaleGVK)
	return s, nil
}

// GetScale reads a workload's Scale.
func (r *Registry) GetScale(ctx context.Context, d *Definition, call Call) (*autoscalingv1.Scale, error) {
	entry, err := r.Get(ctx, d, call.Namespace, call.Name, true)
	if err != nil {
		return nil, err
	}
	return ScaleOf(entry.Object())
}

// UpdateScale sets a workload's replicas.
func (r *Registry) UpdateScale(ctx context.Context, d *Definition, call Call, s *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
	if err := matchName(call.Name, s); err != nil {
		return nil, err
	}
	return r.rescale(ctx, d, call, func(current *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		if err := checkVersion(d, call, current, s.ResourceVersion, s.UID); err != nil {
			return nil, err
		}
		fm, err := r.managers.scale()
		if err != nil {
			return nil, err
		}
		return asScale(fm.UpdateNoErrors(current, s.DeepCopy(), call.Manager))
	})
}

// PatchScale changes a workload's replicas as the patch of its Scale says.
func (r *Registry) PatchScale(ctx context.Context, d *Definition, call Call, p Patch) (*autoscalingv1.Scale, error) {
	if p.Type == types.ApplyYAMLPatchType && call.Manager == "" {
		return nil, apierrors.NewBadRequest("fieldManager is required for an apply")
	}
	return r.rescale(ctx, d, call, func(current *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		fm, err := r.managers.scale()
		if err != nil {
			return nil, err
		}
		if p.Type == types.ApplyYAMLPatchType {
			return applyScale(fm, call, current, p)
		}
		obj, err := patched(current, current.GroupVersionKind(), call, p)
		if err != nil {
			return nil, err
		}
		if err := checkPatched(d, call, current, obj); err != nil {
			return nil, err
		}
		return asScale(fm.UpdateNoErrors(current, obj, call.Manager))
	})
}

func applyScale(fm *managedfields.FieldManager, call Call, current *autoscalingv1.Scale, p Patch) (*autoscalingv1.Scale, error) {
	config, err := decodeApply(call, p.Data)
	if err != nil {
		return nil, err
	}
	var u *unstructured.Unstructured = config
	if u.GroupVersionKind() != current.GroupVersionKind() {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the configuration is for a %s, but the request is for a Scale", u.GroupVersionKind()))
	}
	obj, err := fm.Apply(current, u, call.Manager, p.Force)
	if err != nil {
		return nil, applyError(err)
	}
	return asScale(obj)
}

func asScale(obj runtime.Object) (*autoscalingv1.Scale, error) {
	s, ok := obj.(*autoscalingv1.Scale)
	if !ok {
		return nil, fmt.Errorf("scale: got a %T", obj)
	}
	if s.Spec.Replicas < 0 {
		return nil, apierrors.NewInvalid(scaleGVK.GroupKind(), s.Name, field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), s.Spec.Replicas, "must be greater than or equal to 0")})
	}
	return s, nil
}

// rescale changes the workload by way of its Scale. Who owns spec.replicas is carried from the one to the other.
func (r *Registry) rescale(ctx context.Context, d *Definition, call Call, fn func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error)) (*autoscalingv1.Scale, error) {
	owned := call
	owned.Manager, owned.Subresource = "", ""
	out, err := r.change(ctx, d, owned, func(current runtime.Object) (runtime.Object, error) {
		obj := current.DeepCopyObject()
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, err
		}
		owners := managedfields.NewScaleHandler(m.GetManagedFields(), d.GVK.GroupVersion(),
			managedfields.ResourcePathMappings{d.GVK.GroupVersion().String(): fieldpath.MakePathOrDie("spec", "replicas")})
		scale, err := ScaleOf(obj)
		if err != nil {
			return nil, err
		}
		if scale.ManagedFields, err = owners.ToSubresource(); err != nil {
			return nil, err
		}
		if scale, err = fn(scale); err != nil {
			return nil, err
		}
		part, err := scaledPart(obj)
		if err != nil {
			return nil, err
		}
		*part.replicas = scale.Spec.Replicas
		entries, err := owners.ToParent(scale.ManagedFields)
		if err != nil {
			return nil, err
		}
		m.SetManagedFields(entries)
		return obj, nil
	})
	if err != nil {
		return nil, err
	}
	return ScaleOf(out)
}
