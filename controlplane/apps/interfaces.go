package apps

import (
	"context"
	"io"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
)

// Client reads afresh and writes. Its errors are apimachinery's API errors.
type Client interface {
	Get(ctx context.Context, obj api.Object) (api.Object, error)
	Create(ctx context.Context, obj api.Object) (api.Object, error)
	Update(ctx context.Context, obj api.Object) (api.Object, error)
	Delete(ctx context.Context, obj api.Object, opts metav1.DeleteOptions) error
}

// Informers hands out the shared caches. Whoever made them starts and stops them.
type Informers interface {
	Informer(gvr schema.GroupVersionResource) cache.SharedIndexInformer
}

// Modules stores modules by digest.
type Modules interface {
	// PutModule stores a module and answers the digest of its manifest and its own. When it returns, the module is
	// on disk; the same bytes give the same digests.
	PutModule(ctx context.Context, repository string, wasm io.ReadSeeker, annotations map[string]string) (manifestDigest, moduleDigest string, err error)
	// OpenModule finds one by tag or manifest digest; the error wraps fs.ErrNotExist when there is none.
	OpenModule(ctx context.Context, repository, reference string) (manifestDigest string, wasm io.ReadCloser, err error)
}

// PodLogs opens the logs of pods.
type PodLogs interface {
	// Open streams one container's log as opts say. With Timestamps each line is an RFC 3339 time with nanoseconds,
	// a space and the content. The stream ends with ctx.
	Open(ctx context.Context, namespace, pod string, opts *corev1.PodLogOptions) (io.ReadCloser, error)
}

// Gateway sends a request to an app the way its users do.
type Gateway interface {
	// Probe asks for the app's start page.
	Probe(ctx context.Context, url string) (Answer, error)
}

// Answer is what an app's URL answered.
type Answer struct {
	Status int
	// Pod is who answered, when the gateway tells. Empty for the gateway's own errors, too.
	Pod string
}
