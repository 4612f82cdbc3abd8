package service

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// udpServer passes datagrams on. Each client has a socket of its own towards its endpoint, so that answers find back.
type udpServer struct {
	choose chooser
	at     netip.AddrPort

	mu    sync.Mutex
	flows map[netip.AddrPort]*flow
	open  sync.WaitGroup
}

// flow is one client's socket towards its endpoint.
type flow struct {
	*net.UDPConn
	to netip.AddrPort
}

func (u *udpServer) serve(ctx context.Context) error {
	var config net.ListenConfig
	packets, err := config.ListenPacket(ctx, "udp", u.at.String())
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("listen: %w", err)
	}
	socket := packets.(*net.UDPConn)
	u.mu.Lock()
	u.flows = map[netip.AddrPort]*flow{}
	u.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer stop()
	defer u.end(socket)
	buffer := make([]byte, udpPacket)
	for {
		n, client, err := socket.ReadFromUDPAddrPort(buffer)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if flow := u.flow(socket, client); flow != nil {
			_ = flow.SetReadDeadline(time.Now().Add(udpIdle))
			_, _ = flow.Write(buffer[:n]) // lost like any datagram
		}
	}
}

// flow is the client's socket towards its endpoint; nil when there is none to be had.
func (u *udpServer) flow(socket *net.UDPConn, client netip.AddrPort) *flow {
	u.mu.Lock()
	defer u.mu.Unlock()
	if flow := u.flows[client]; flow != nil {
		return flow
	}
	if len(u.flows) >= udpMaxFlows {
		return nil
	}
	backend, ok := u.choose(client.Addr().Unmap(), u.at.Addr(), nil)
	if !ok {
		return nil
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(backend.Addr))
	if err != nil {
		return nil
	}
	made := &flow{conn, backend.Addr}
	u.flows[client] = made
	u.open.Go(func() { u.answer(socket, made, client) })
	return made
}

// answer passes an endpoint's datagrams back until the flow is idle or its endpoint refuses.
func (u *udpServer) answer(socket *net.UDPConn, flow *flow, client netip.AddrPort) {
	defer func() {
		u.mu.Lock()
		if u.flows[client] == flow {
			delete(u.flows, client)
		}
		u.mu.Unlock()
		_ = flow.Close()
	}()
	buffer := make([]byte, udpPacket)
	for {
		n, err := flow.Read(buffer)
		if err != nil {
			return
		}
		_ = flow.SetReadDeadline(time.Now().Add(udpIdle))
		if _, err := socket.WriteToUDPAddrPort(buffer[:n], client); err != nil {
			return
		}
	}
}

// retain ends the flows to endpoints that have gone at once: nobody would tell the client that they have.
func (u *udpServer) retain(known map[netip.AddrPort]bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for client, flow := range u.flows {
		if !known[flow.to] {
			delete(u.flows, client)
			_ = flow.Close()
		}
	}
}

// drain has nothing to wait for: flows end with their socket.
func (u *udpServer) drain(<-chan struct{}) {}

func (u *udpServer) end(socket *net.UDPConn) {
	_ = socket.Close()
	u.mu.Lock()
	for _, flow := range u.flows {
		_ = flow.Close()
	}
	u.mu.Unlock()
	u.open.Wait()
}
