package join

import (
	"context"
	"errors"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/pki"
)

const (
	// DefaultLife is how long a node's certificates last, as in Kubernetes.
	DefaultLife = 365 * 24 * time.Hour

	// decidedKept is how long a request that is decided over stays to be looked at, and pendingKept one that nobody
	// decides over, as in Kubernetes.
	decidedKept = time.Hour
	pendingKept = 24 * time.Hour
	// expiredKept is how long a token stays after its end, so that who shows it is told that it has expired.
	expiredKept = time.Hour

	// firstRetry and lastRetry bound the pause before a failed step is taken again; it doubles in between.
	firstRetry = 10 * time.Millisecond
	lastRetry  = 30 * time.Second
	// podPatience is how long a node that reads what one of its pods uses waits for the pod to be known here, and
	// podPoll how often is looked: the node may have heard of its pod a moment earlier.
	podPatience = time.Second
	podPoll     = 10 * time.Millisecond
)

// Client writes objects and reads them afresh.
type Client interface {
	Get(ctx context.Context, obj api.Object) (api.Object, error)
	UpdateApproval(ctx context.Context, obj api.Object) (api.Object, error)
	UpdateStatus(ctx context.Context, obj api.Object) (api.Object, error)
	Delete(ctx context.Context, obj api.Object, opts metav1.DeleteOptions) error
}

// Informers hands out the shared caches.
type Informers interface {
	Informer(gvr schema.GroupVersionResource) cache.SharedIndexInformer
}

// Config is what a Controller needs.
type Config struct {
	Client    Client
	Informers Informers
	// Cluster signs clients, Nodes the nodes' servers.
	Cluster, Nodes *pki.Authority
	// Life is the longest that a certificate lasts; 0: DefaultLife.
	Life time.Duration
	// Now tells the time; nil: time.Now.
	Now func() time.Time
	// Logger; nil: nothing is logged.
	Logger *slog.Logger
}

// Validate names the first thing that is wrong.
func (c *Config) Validate() error {
	switch {
	case c.Client == nil || c.Informers == nil:
		return errors.New("check join config: a client and informers must be given")
	case c.Cluster == nil || c.Nodes == nil:
		return errors.New("check join config: both certificate authorities must be given")
	case c.Life < 0:
		return errors.New("check join config: certificates cannot last a negative time")
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Life == 0 {
		c.Life = DefaultLife
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}
