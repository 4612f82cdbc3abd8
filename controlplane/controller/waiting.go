package controller

import (
	"context"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/petrelrun/petrel/controlplane/api"
)

// waitingClient adds up how long a step waits for the API. Most of that is the disk's time, not the processor's: a
// loop that counted it as work of its own would let a service's endpoints wait longest where disks are slow.
type waitingClient struct {
	Client
	clock clock.PassiveClock
}

// waitedKey is the context's key of what a step has waited, in nanoseconds.
type waitedKey struct{}

// countWaiting is ctx for a step whose waiting is added to what it returns.
func countWaiting(ctx context.Context) (context.Context, *atomic.Int64) {
	waited := new(atomic.Int64)
	return context.WithValue(ctx, waitedKey{}, waited), waited
}

// waiting begins a wait, and what it returns ends it.
func (c waitingClient) waiting(ctx context.Context) func() {
	waited, ok := ctx.Value(waitedKey{}).(*atomic.Int64)
	if !ok {
		return func() {}
	}
	began := c.clock.Now()
	return func() { waited.Add(int64(max(c.clock.Since(began), time.Duration(0)))) }
}

func (c waitingClient) Get(ctx context.Context, obj api.Object) (api.Object, error) {
	defer c.waiting(ctx)()
	return c.Client.Get(ctx, obj)
}

func (c waitingClient) Create(ctx context.Context, obj api.Object) (api.Object, error) {
	defer c.waiting(ctx)()
	return c.Client.Create(ctx, obj)
}

func (c waitingClient) Update(ctx context.Context, obj api.Object) (api.Object, error) {
	defer c.waiting(ctx)()
	return c.Client.Update(ctx, obj)
}

func (c waitingClient) UpdateStatus(ctx context.Context, obj api.Object) (api.Object, error) {
	defer c.waiting(ctx)()
	return c.Client.UpdateStatus(ctx, obj)
}

func (c waitingClient) Delete(ctx context.Context, obj api.Object, opts metav1.DeleteOptions) error {
	defer c.waiting(ctx)()
	return c.Client.Delete(ctx, obj, opts)
}

func (c waitingClient) Finalize(ctx context.Context, ns *corev1.Namespace) error {
	defer c.waiting(ctx)()
	return c.Client.Finalize(ctx, ns)
}
