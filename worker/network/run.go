package network

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	// resyncInterval is how often everything is compared though nothing was heard of.
	resyncInterval = 30 * time.Second
	// retryInterval is how soon a turn that left problems is followed by another.
	retryInterval = 2 * time.Second
	// settleTime is how long after an event the turn comes: events come in bursts.
	settleTime = 50 * time.Millisecond
	// turnInterval is the least time between two turns that events caused, so that a machine on which links come and go
	// all the time is not kept busy by comparing.
	turnInterval = 500 * time.Millisecond
	// turnShare stretches that time where turns take long (70 ms with a thousand nodes): a twentieth of a processor is
	// what comparing may take.
	turnShare = 20
	// eventBuffer holds what comes while an event is taken; more waits in the kernel's socket.
	eventBuffer = 64
)

// Run keeps everything as it should be until ctx ends. Open comes first.
func (n *Network) Run(ctx context.Context) error {
	if n.cfg.Mode == Loopback {
		<-ctx.Done()
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	events := make(chan struct{}, 1)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { n.watch(ctx, events) })
	wait := time.NewTimer(0)
	defer wait.Stop()
	var last time.Time
	var took time.Duration
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.poke:
		case <-events:
			if !pause(ctx, max(settleTime, max(turnInterval, turnShare*took)-time.Since(last))) {
				return nil
			}
		case <-wait.C:
		}
		last = time.Now()
		_ = n.turn() // told by Problems
		took = time.Since(last)
		if len(n.Problems()) > 0 {
			wait.Reset(retryInterval)
		} else {
			wait.Reset(resyncInterval)
		}
	}
}

// pause waits; it is false when ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// watch tells of changes to links, addresses and routes until ctx ends. What it misses the next resync finds.
func (n *Network) watch(ctx context.Context, events chan<- struct{}) {
	for ctx.Err() == nil {
		if err := n.follow(ctx, events); err != nil && ctx.Err() == nil {
			n.cfg.Logger.Debug("kernel's events were lost", "error", err)
		}
		tell(events) // whatever happened meanwhile
		pause(ctx, retryInterval)
	}
}

func tell(events chan<- struct{}) {
	select {
	case events <- struct{}{}:
	default:
	}
}

// follow is one subscription; it ends with ctx or with an error.
func (n *Network) follow(ctx context.Context, events chan<- struct{}) error {
	n.kernel.Lock()
	if n.space == nil {
		n.kernel.Unlock()
		return errNotOpen
	}
	ns := n.space.handle()
	n.kernel.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	fail := func(err error) { cancel(fmt.Errorf("follow kernel: %w", err)) }
	done := make(chan struct{})
	var draining sync.WaitGroup
	defer draining.Wait()
	defer close(done)

	links := make(chan netlink.LinkUpdate, eventBuffer)
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{Namespace: ns, ErrorCallback: fail}); err != nil {
		return fmt.Errorf("follow links: %w", err)
	}
	drain(&draining, links, events, cancel)
	addrs := make(chan netlink.AddrUpdate, eventBuffer)
	if err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{Namespace: ns, ErrorCallback: fail}); err != nil {
		return fmt.Errorf("follow addresses: %w", err)
	}
	drain(&draining, addrs, events, cancel)
	routes := make(chan netlink.RouteUpdate, eventBuffer)
	if err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{Namespace: ns, ErrorCallback: fail}); err != nil {
		return fmt.Errorf("follow routes: %w", err)
	}
	drain(&draining, routes, events, cancel)
	<-ctx.Done()
	return context.Cause(ctx)
}

// drain turns updates into events until their channel closes.
func drain[T any](group *sync.WaitGroup, updates <-chan T, events chan<- struct{}, end context.CancelCauseFunc) {
	group.Go(func() {
		for range updates {
			tell(events)
		}
		end(fmt.Errorf("follow kernel: the subscription ended"))
	})
}
