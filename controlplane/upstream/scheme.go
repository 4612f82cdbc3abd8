package upstream

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	// Each group's types, conversions and defaults register themselves with the scheme that the strategies use.
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/certificates/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/node/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
)

// Scheme knows every upstream type that is served, versioned and internal, with defaults and conversions. It is
// upstream's own global, because the strategies are tied to it; types of ours may be added before it is used.
func Scheme() *runtime.Scheme { return legacyscheme.Scheme }

// toInternal converts without copying: the result shares memory with obj.
func toInternal(obj runtime.Object, group string) (runtime.Object, error) {
	return legacyscheme.Scheme.UnsafeConvertToVersion(obj, schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal})
}

// toVersion converts back, again sharing memory, and names the kind as clients expect it.
func toVersion(obj runtime.Object, gvk schema.GroupVersionKind) (runtime.Object, error) {
	out, err := legacyscheme.Scheme.UnsafeConvertToVersion(obj, gvk.GroupVersion())
	if err != nil {
		return nil, err
	}
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out, nil
}
