package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
)

// Client writes objects and reads them afresh. Its errors are apimachinery's API errors.
type Client interface {
	// Get reads linearizably. obj is an empty typed object with its namespace and name set.
	Get(ctx context.Context, obj api.Object) (api.Object, error)
	// Create returns the object as it was stored.
	Create(ctx context.Context, obj api.Object) (api.Object, error)
	// Update writes all but the status. It is a conflict when the resourceVersion is stale.
	Update(ctx context.Context, obj api.Object) (api.Object, error)
	// UpdateStatus writes the status only. It is a conflict when the resourceVersion is stale.
	UpdateStatus(ctx context.Context, obj api.Object) (api.Object, error)
	// Delete honours grace, preconditions and propagation as the HTTP API does.
	Delete(ctx context.Context, obj api.Object, opts metav1.DeleteOptions) error
	// Finalize writes a namespace's spec.finalizers; a terminating namespace without any is removed.
	Finalize(ctx context.Context, ns *corev1.Namespace) error
}

// Informers hands out the shared caches. Whoever made them starts and stops them.
type Informers interface {
	// Informer returns the same informer each time. It must accept indexers and handlers before it is started.
	Informer(gvr schema.GroupVersionResource) cache.SharedIndexInformer
	// Resources lists every served resource that can be listed.
	Resources() []api.ResourceInfo
}
