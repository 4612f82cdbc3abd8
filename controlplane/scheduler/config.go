package scheduler

import (
	"context"
	"errors"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/petrelrun/petrel/controlplane/api"
)

// Client writes what the scheduler decides.
type Client interface {
	// Get reads linearizably. obj is an empty typed object with its namespace and name set.
	Get(ctx context.Context, obj api.Object) (api.Object, error)
	// Update writes all but the status. It is a conflict when the resourceVersion is stale.
	Update(ctx context.Context, obj api.Object) (api.Object, error)
	// UpdateStatus writes the status only. It is a conflict when the resourceVersion is stale.
	UpdateStatus(ctx context.Context, obj api.Object) (api.Object, error)
	// Bind gives a pod its node. It is a conflict when it has one already.
	Bind(ctx context.Context, b *corev1.Binding) error
}

// Informers hands out the shared caches of pods, nodes, claims, volumes, storage and runtime classes. Whoever made them starts and stops them.
type Informers interface {
	Informer(gvr schema.GroupVersionResource) cache.SharedIndexInformer
}

// Config holds what the scheduler needs.
type Config struct {
	Client    Client
	Informers Informers
	Recorder  record.EventRecorder
	Logger    *slog.Logger
	// Clock tells the time that decisions are made by; the real one when nil.
	Clock clock.PassiveClock
}

// Validate tells what is missing.
func (c *Config) Validate() error {
	switch {
	case c.Client == nil:
		return errors.New("check scheduler config: no client")
	case c.Informers == nil:
		return errors.New("check scheduler config: no informers")
	case c.Recorder == nil:
		return errors.New("check scheduler config: no event recorder")
	}
	return nil
}
