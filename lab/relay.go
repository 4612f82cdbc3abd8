package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// relayConnections bounds what one relay carries at a time; more wait to be accepted.
	relayConnections = 512
	// relayPause lets connections end when there are no descriptors left.
	relayPause = 50 * time.Millisecond
)

// relay takes TCP connections on loopback to an address that only a node can reach.
type relay struct {
	listener net.Listener
	to       netip.AddrPort
	dial     func(ctx context.Context, to netip.AddrPort) (net.Conn, error)

	ctx   context.Context
	end   context.CancelFunc
	parts sync.WaitGroup
	slots chan struct{}
}

// Relay listens on a loopback address and carries what comes to an address as the node reaches it. It ends with the lab.
func (l *Lab) Relay(listen string, n *Node, to netip.AddrPort) (netip.AddrPort, error) {
	at, err := netip.ParseAddrPort(listen)
	if err != nil || !at.Addr().IsLoopback() {
		return netip.AddrPort{}, fmt.Errorf("relay at %q: want a loopback address and a port", listen)
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen for relay: %w", err)
	}
	return l.relay(listener, n, to), nil
}

func (l *Lab) relay(listener net.Listener, n *Node, to netip.AddrPort) netip.AddrPort {
	r := &relay{listener: listener, to: to, dial: n.Dial, slots: make(chan struct{}, relayConnections)}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.parts.Go(r.serve)
	l.mu.Lock()
	l.relays = append(l.relays, r)
	l.mu.Unlock()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// serve accepts until the listener is closed.
func (r *relay) serve() {
	for {
		select {
		case r.slots <- struct{}{}:
		case <-r.ctx.Done():
			return
		}
		client, err := r.listener.Accept()
		if err != nil {
			<-r.slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(relayPause)
			continue
		}
		r.parts.Go(func() {
			defer func() { <-r.slots }()
			r.carry(client)
		})
	}
}

// carry passes bytes both ways until both sides have ended.
func (r *relay) carry(client net.Conn) {
	defer client.Close()
	server, err := r.dial(r.ctx, r.to)
	if err != nil {
		return // and the client sees its connection end
	}
	defer server.Close()
	stop := context.AfterFunc(r.ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer stop()
	var back sync.WaitGroup
	back.Go(func() { pass(client, server) })
	pass(server, client)
	back.Wait()
}

// pass carries one direction, and its end: a client may close its half and still wait for the answer.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(*net.TCPConn); ok && err == nil {
		_ = half.CloseWrite()
		return
	}
	_ = to.Close()
	_ = from.Close()
}

func (r *relay) close() {
	r.end()
	_ = r.listener.Close()
	r.parts.Wait()
}
