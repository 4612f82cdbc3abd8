package fleet

import (
	"context"
	"os"
)

// Exchange is Call with descriptors that go with the request, which stay the caller's, and those that come with the answer,
// which become his.
func (r *Runner) Exchange(ctx context.Context, method string, params any, send []*os.File, result any) ([]*os.File, error) {
	r.mu.Lock()
	client := r.client
	r.mu.Unlock()
	return client.Exchange(ctx, method, params, send, result)
}
