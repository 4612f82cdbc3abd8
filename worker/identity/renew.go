package identity

import (
	"context"
	"math/rand/v2"
	"time"
)

// Run renews the certificates before they end, until ctx ends.
func (i *Identity) Run(ctx context.Context) error {
	defer i.Close()
	// Drawn once: how much earlier than others this node renews.
	spread := rand.Float64() / jitterShare
	pauses := map[string]time.Duration{}
	for ctx.Err() == nil {
		wait := renewLook
		for _, w := range []want{i.clientWant(), i.servingWant()} {
			left := i.due(w, spread).Sub(i.cfg.Now())
			if left <= 0 {
				pauses[w.name] = i.attempt(ctx, w, pauses[w.name])
				left = pauses[w.name]
			}
			wait = min(wait, left)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// attempt renews a certificate and answers how long to wait before the next attempt; 0 is success.
func (i *Identity) attempt(ctx context.Context, w want, last time.Duration) time.Duration {
	if ctx.Err() != nil {
		return renewLook
	}
	err := i.renew(ctx, w)
	if err == nil {
		return 0
	}
	if ctx.Err() == nil {
		i.complain(w, err)
	}
	return min(max(2*last, renewRetryFirst), renewRetryLast)
}

func (i *Identity) have(w want) *pair {
	if w.name == i.clientWant().name {
		return i.client
	}
	return i.serving.Load()
}

// due is when a certificate is to be renewed: after two thirds of its life, or somewhat earlier.
func (i *Identity) due(w want, spread float64) time.Time {
	p := i.have(w)
	at := p.renewAt()
	return at.Add(-time.Duration(spread * float64(p.Leaf.NotAfter.Sub(at))))
}

func (i *Identity) renew(ctx context.Context, w want) error {
	next, err := i.obtain(ctx, w, &i.transport, "")
	if err != nil {
		return err
	}
	if w.name == i.clientWant().name {
		i.client = next
		i.transport.swap(newTransport(i.ca, &next.Certificate))
	} else {
		i.serving.Store(next)
	}
	i.cfg.Logger.Info("certificate renewed", "certificate", w.name, "until", next.Leaf.NotAfter)
	return nil
}

func (i *Identity) complain(w want, err error) {
	end := i.have(w).Leaf.NotAfter
	if i.cfg.Now().Before(end) {
		i.cfg.Logger.Warn("certificate was not renewed, will try again", "certificate", w.name, "ends", end, "error", err)
		return
	}
	i.cfg.Logger.Error("certificate has ended and was not renewed: give the node a new token", "certificate", w.name, "ended", end, "error", err)
}
