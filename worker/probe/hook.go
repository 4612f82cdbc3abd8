package probe

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// MaxHook bounds a hook that nothing else bounds: that of a start has no time limit of its own.
const MaxHook = time.Hour

// Hook carries out a lifecycle hook of the container; ctx bounds it.
func (a *Actions) Hook(ctx context.Context, t Target, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		timeout := MaxHook
		if end, ok := ctx.Deadline(); ok {
			timeout = time.Until(end)
		}
		return run(ctx, a.exec, t, h.Exec, timeout)
	case h.HTTPGet != nil:
		return a.network.http(ctx, t, h.HTTPGet, "HTTP hook")
	case h.TCPSocket != nil:
		return tcp(ctx, t, h.TCPSocket)
	case h.Sleep != nil:
		return sleep(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
	default:
		return errors.New("hook has neither exec nor httpGet, tcpSocket or sleep")
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
