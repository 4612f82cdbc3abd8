package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// chooser picks an endpoint, none of those tried already, for a client that came to the address at.
type chooser func(client, at netip.Addr, tried []netip.AddrPort) (Backend, bool)

// tcpServer passes TCP connections on.
type tcpServer struct {
	choose chooser
	at     netip.AddrPort
	grace  time.Duration

	mu     sync.Mutex
	closed bool
	conns  map[*pair]struct{}
	open   sync.WaitGroup
}

// serve accepts until ctx ends. Connections that are open go on.
func (t *tcpServer) serve(ctx context.Context) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", t.at.String())
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("listen: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			t.open.Go(func() { t.handle(conn.(*net.TCPConn)) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
			time.Sleep(acceptPause)
		default:
			_ = listener.Close()
			return fmt.Errorf("accept: %w", err)
		}
	}
}

// acceptPause lets connections end when there are no file descriptors left.
const acceptPause = 50 * time.Millisecond

// drain waits for the open connections to end, and ends them when their time is up or at shutdown.
func (t *tcpServer) drain(shutdown <-chan struct{}) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.open.Wait()
	}()
	timeout := time.NewTimer(t.grace)
	defer timeout.Stop()
	select {
	case <-ended:
		return
	case <-shutdown:
	case <-timeout.C:
	}
	t.mu.Lock()
	t.closed = true
	for c := range t.conns {
		_ = c.Close()
	}
	t.mu.Unlock()
	<-ended
}

// retain gives connections to endpoints that have gone a while to end.
func (t *tcpServer) retain(known map[netip.AddrPort]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		if alive := known[c.to]; alive != (c.doom == nil) {
			c.sentence(alive, t.grace)
		}
	}
}

func (t *tcpServer) track(c *pair) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns[c] = struct{}{}
	if t.closed { // it was being dialled when the rest was closed
		_ = c.Close()
	}
}

func (t *tcpServer) untrack(c *pair) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.sentence(true, 0)
	delete(t.conns, c)
}

func (t *tcpServer) handle(client *net.TCPConn) {
	to, backend := t.dial(client)
	if backend == nil {
		_ = client.SetLinger(0) // a reset says "refused" where a plain end would look like an empty answer
		_ = client.Close()
		return
	}
	pair := &pair{client: client, backend: backend, to: to}
	t.track(pair)
	defer t.untrack(pair)
	pair.copy()
}

// dial tries endpoints until one takes the connection.
func (t *tcpServer) dial(client *net.TCPConn) (netip.AddrPort, *net.TCPConn) {
	from := client.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	at := client.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	dialer := net.Dialer{Timeout: dialTimeout}
	var tried []netip.AddrPort
	for begin := time.Now(); mayTry(tried, begin); {
		to, ok := t.choose(from, at, tried)
		if !ok {
			break
		}
		conn, err := dialer.Dial("tcp", to.Addr.String())
		if err == nil {
			return to.Addr, conn.(*net.TCPConn)
		}
		tried = append(tried, to.Addr)
	}
	return netip.AddrPort{}, nil
}

// pair is a client's connection and the endpoint's.
type pair struct {
	client, backend *net.TCPConn
	to              netip.AddrPort
	doom            *time.Timer // ends it: the endpoint has gone
}

// sentence has the pair live on or end after the grace.
func (p *pair) sentence(live bool, grace time.Duration) {
	switch {
	case !live && p.doom == nil:
		p.doom = time.AfterFunc(grace, func() { _ = p.Close() })
	case live && p.doom != nil:
		p.doom.Stop()
		p.doom = nil
	}
}

func (p *pair) Close() error { return errors.Join(p.client.Close(), p.backend.Close()) }

// copy passes bytes both ways until both sides have ended. On Linux the kernel splices them.
func (p *pair) copy() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.half(p.backend, p.client)
	}()
	p.half(p.client, p.backend)
	<-done
	_ = p.Close()
}

// half passes one direction on, and its end too: a client may close its half and still wait for the answer.
func (p *pair) half(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = to.SetLinger(0) // the other side failed: pass that on as a failure
		_ = p.Close()
		return
	}
	_ = to.CloseWrite()
}

// explain adds what to do about a listen error.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE; lower that sysctl, or use a higher port", err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another program of this machine has the port", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: the address is not one of this machine's", err)
	default:
		return err
	}
}
