package resource

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/petrelrun/petrel/controlplane/upstream"
	"github.com/petrelrun/petrel/podrules"
)

// podRules are Kubernetes' rules of pods, and that a pod which says that it is one of Wasm modules asks for nothing that
// such a pod cannot have. What other pods turn out to be only their node finds out.
type podRules struct{ Rules }

// Create implements Rules.
func (r podRules) Create(ctx context.Context, call upstream.Call, obj runtime.Object) (runtime.Object, error) {
	out, err := r.Rules.Create(ctx, call, obj)
	if err != nil {
		return nil, err
	}
	pod := out.(*corev1.Pod)
	if class := pod.Spec.RuntimeClassName; class == nil || *class != podrules.WasmClass {
		return out, nil
	}
	if errs := podrules.Wasm(&pod.Spec, field.NewPath("spec")); len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Pod").GroupKind(), pod.Name, errs)
	}
	return out, nil
}
