package worker

import (
	"context"
	"errors"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/service"
	"github.com/petrelrun/petrel/worker/steer"
)

// newSteering prepares what hands connections to the runtime's sockets.
func (w *Worker) newSteering() (*steer.Service, error) {
	return steer.New(steer.Config{
		Socket: w.cfg.SteerSocket, Pinned: w.cfg.Proxy.PinDir != "" && w.cfg.Proxy.Mode != service.Userspace, NetNS: w.cfg.netns,
		Decided: w.guard.decided, Logger: w.cfg.Logger,
	})
}

// opened begins what works on the eBPF data path's tables beside Services: policies, flows and steering.
func (w *Worker) opened(ctx context.Context, proxy *ebpfproxy.Proxy) (func() error, error) {
	closeGuard, err := w.guard.opened(ctx, proxy)
	if err != nil {
		return nil, err
	}
	closeSteering, err := w.steering.Opened(ctx, proxy)
	if err != nil {
		return nil, errors.Join(err, closeGuard())
	}
	return func() error { return errors.Join(closeSteering(), closeGuard()) }, nil
}
