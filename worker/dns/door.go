package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// eventListen is the reason of the node's event that says where the DNS cannot be.
const eventListen = "DNSListenFailed"

// door is one address, for UDP and TCP.
type door struct {
	doors    *doors
	at       netip.AddrPort
	fallback sync.WaitGroup
	fellBack bool
}

// run listens until ctx ends, again and again where it fails.
func (d *door) run(ctx context.Context) {
	defer d.fallback.Wait()
	if d.doors.fallback.Load() {
		d.fallBack(ctx)
	}
	retry := listenRetry
	for ctx.Err() == nil {
		began := time.Now()
		err := d.serve(ctx, d.at, func() { d.doors.noteTried(d.at) })
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > listenRetryMax {
			retry = listenRetry
		}
		instead := ""
		if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EADDRINUSE) {
			instead = d.fallBack(ctx)
		}
		if retry == listenRetry || retry >= listenRetryMax {
			d.complain(err, instead)
		}
		d.doors.noteTried(d.at)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
		retry = min(2*retry, listenRetryMax)
	}
}

// fallBack serves the fallback port from now on, and says so.
func (d *door) fallBack(ctx context.Context) string {
	at, ok := fallbackOf(d.at)
	if !ok {
		return ""
	}
	if !d.fellBack {
		up, down := make(chan struct{}), make(chan struct{})
		d.fallback.Go(func() {
			defer close(down)
			if err := d.serve(ctx, at, func() { close(up) }); err != nil && ctx.Err() == nil {
				d.complain(err, "")
			}
		})
		select {
		case <-up:
		case <-down:
			return ""
		}
		d.fellBack = true
		if !d.doors.fallback.Swap(true) {
			d.doors.server.state.changed()
		}
	}
	return fmt.Sprintf("; guests of the Wasm runtime find it at %s", at)
}

// complain says to the log and to the node that there is no DNS at an address.
func (d *door) complain(err error, instead string) {
	if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) {
		err = fmt.Errorf("%w (ports below 1024 need root or CAP_NET_BIND_SERVICE)", err)
	}
	cfg := &d.doors.server.cfg
	cfg.Logger.Warn("cluster dns cannot be listened on", "address", d.at.String(), "error", err, "instead", instead)
	if cfg.Recorder == nil {
		return
	}
	ref := &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: cfg.NodeName, UID: types.UID(cfg.NodeName)}
	cfg.Recorder.Eventf(ref, corev1.EventTypeWarning, eventListen, "Cluster DNS cannot listen on %s: %v%s", d.at, err, instead)
}

// serve listens on an address for UDP and TCP and calls up once it does; it returns when ctx ends or a socket fails.
func (d *door) serve(ctx context.Context, at netip.AddrPort, up func()) error {
	var config net.ListenConfig
	packets, err := config.ListenPacket(ctx, "udp", at.String())
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	listener, err := config.Listen(ctx, "tcp", at.String())
	if err != nil {
		_ = packets.Close()
		return fmt.Errorf("listen: %w", err)
	}
	s := d.doors.server
	servers := []*dns.Server{
		{PacketConn: packets, Handler: s, UDPSize: maxUDP, ReadTimeout: connRead},
		{
			Listener: limitConns(listener, maxConns), Handler: s, ReadTimeout: connRead, WriteTimeout: connRead,
			IdleTimeout: func() time.Duration { return connIdle }, MaxTCPQueries: connQueries,
		},
	}
	failed := make(chan error, len(servers))
	var started, serving sync.WaitGroup
	for _, server := range servers {
		started.Add(1)
		server.NotifyStartedFunc = started.Done
		serving.Go(func() { failed <- server.ActivateAndServe() })
	}
	started.Wait() // both activate: they have their sockets already
	d.doors.note(at, true)
	s.cfg.Logger.Info("cluster dns is served", "address", at.String())
	up()
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	d.doors.note(at, false)
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	for _, server := range servers {
		_ = server.ShutdownContext(deadline)
	}
	serving.Wait()
	return err
}
