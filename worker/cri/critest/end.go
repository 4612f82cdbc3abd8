package critest

import (
	"context"
	"errors"
	"time"

	"github.com/petrelrun/petrel/worker/cri"
)

// endPause is between two attempts to end a sandbox.
const endPause = 100 * time.Millisecond

// EndSandbox stops and removes a sandbox as clients do, who ask again until ctx ends: a start that goes on without its caller
// keeps containerd from it, and a shim that ends by itself at that moment fails the call.
func EndSandbox(ctx context.Context, client *cri.Client, id string) error {
	for {
		err := errors.Join(client.StopPodSandbox(ctx, id), client.RemovePodSandbox(ctx, id))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(endPause):
		}
	}
}
