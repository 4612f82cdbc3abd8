package resource

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/petrelrun/petrel/controlplane/upstream"
	"github.com/petrelrun/petrel/podrules"
)

// What a pod and its class disagree about, in Kubernetes' words: clients know them.
var (
	errOverhead      = errors.New("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	errStrayOverhead = errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
)

// admitRuntime gives a new pod what its RuntimeClass says of all its pods, and refuses what contradicts it. It comes
// after the fields' owners are known: what the class gives is nobody's who wrote the pod.
func (r *Registry) admitRuntime(ctx context.Context, d *Definition, call Call, obj runtime.Object) error {
	switch obj := obj.(type) {
	case *nodev1.RuntimeClass:
		return checkWasmClass(d, obj)
	case *corev1.Pod:
		class, err := r.classOf(ctx, d, obj)
		if err == nil {
			err = applyClass(d, obj, class)
		}
		if err != nil || class == nil || class.Handler != wasmHandler {
			return err
		}
		// What other pods turn out to be only their node finds out.
		if errs := podrules.Wasm(&obj.Spec, field.NewPath("spec")); len(errs) > 0 {
			return apierrors.NewInvalid(d.GVK.GroupKind(), call.Name, errs)
		}
	}
	return nil
}

// checkWasmClass keeps the class of Wasm modules what it is on each node, which knows it without asking.
func checkWasmClass(d *Definition, class *nodev1.RuntimeClass) error {
	if class.Name != wasmHandler || class.Handler == wasmHandler {
		return nil
	}
	return apierrors.NewInvalid(d.GVK.GroupKind(), class.Name, field.ErrorList{field.Invalid(field.NewPath("handler"), class.Handler,
		fmt.Sprintf("the class %q is that of Wasm modules: its handler is %q", wasmHandler, wasmHandler))})
}

// classOf reads the class that the pod names; nil for none. It is shared and must not be changed.
func (r *Registry) classOf(ctx context.Context, d *Definition, pod *corev1.Pod) (*nodev1.RuntimeClass, error) {
	if pod.Spec.RuntimeClassName == nil || *pod.Spec.RuntimeClassName == "" { // an empty name is refused with the rest of the spec
		return nil, nil
	}
	name, stored := *pod.Spec.RuntimeClassName, runtimeClasses().Stored
	// The cache may be a moment behind a class that was just made, so only a fresh read can say that it is missing.
	entry, err := r.store.Get(ctx, stored, "", name, false)
	if apierrors.IsNotFound(err) {
		entry, err = r.store.Get(ctx, stored, "", name, true)
	}
	if apierrors.IsNotFound(err) {
		return nil, apierrors.NewForbidden(d.GR(), pod.Name, fmt.Errorf("pod rejected: RuntimeClass %q not found", name))
	}
	if err != nil {
		return nil, err
	}
	return object[*nodev1.RuntimeClass](entry)
}

func applyClass(d *Definition, pod *corev1.Pod, class *nodev1.RuntimeClass) error {
	err := applyOverhead(pod, class)
	if err == nil && class != nil && class.Scheduling != nil {
		err = applyScheduling(pod, class.Scheduling)
	}
	if err != nil {
		return apierrors.NewForbidden(d.GR(), pod.Name, err)
	}
	return nil
}

// applyOverhead has the pod take what running it takes beside its containers: scheduler and node count it from the spec.
func applyOverhead(pod *corev1.Pod, class *nodev1.RuntimeClass) error {
	switch {
	case class == nil || class.Overhead == nil:
		if pod.Spec.Overhead != nil {
			return errStrayOverhead
		}
		return nil
	case len(pod.Spec.Overhead) > 0 && !apiequality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead):
		return errOverhead
	}
	pod.Spec.Overhead = class.Overhead.PodFixed.DeepCopy()
	return nil
}

// applyScheduling sends the pod where the class's pods can run, and no farther than it wants to go itself.
func applyScheduling(pod *corev1.Pod, s *nodev1.Scheduling) error {
	for key, want := range s.NodeSelector {
		if have, ok := pod.Spec.NodeSelector[key]; ok && have != want {
			return fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, want, key, have)
		}
	}
	if len(s.NodeSelector) > 0 {
		if pod.Spec.NodeSelector == nil {
			pod.Spec.NodeSelector = map[string]string{}
		}
		maps.Copy(pod.Spec.NodeSelector, s.NodeSelector)
	}
	if len(s.Tolerations) == 0 {
		return nil
	}
	merged, err := upstream.MergeTolerations(pod.Spec.Tolerations, s.Tolerations)
	pod.Spec.Tolerations = merged
	return err
}
