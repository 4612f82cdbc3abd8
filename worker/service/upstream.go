package service

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/http1"
)

// upstream is one kept-alive connection to an endpoint. One request uses it at a time, from the goroutine that serves
// that request: a transport that hands requests to goroutines of its own costs four switches for each.
type upstream struct {
	conn *net.TCPConn
	wire *http1.Socket // the same, for bytes
	addr netip.AddrPort
	in   *bufio.Reader
	out  *bufio.Writer
	left int64 // what may still be read of an answer's header; negative for no limit
	idle time.Time
}

var errHeaderTooLarge = errors.New("answer's header is too large")

// Read implements io.Reader for in, within the limit on headers.
func (u *upstream) Read(p []byte) (int, error) {
	if u.left < 0 {
		return u.wire.Read(p)
	}
	if u.left == 0 {
		return 0, errHeaderTooLarge
	}
	n, err := u.wire.Read(p[:min(int64(len(p)), u.left)])
	u.left -= int64(n)
	return n, err
}

// alive reports whether the endpoint has neither closed the connection nor sent what nobody asked for.
func (u *upstream) alive() bool {
	raw, err := u.conn.SyscallConn()
	if err != nil {
		return false
	}
	var peeked error
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, peeked = unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true
	})
	return err == nil && errors.Is(peeked, unix.EAGAIN)
}

// upstreams are the idle connections, by endpoint, the one used last on top.
type upstreams struct {
	dialer net.Dialer

	mu     sync.Mutex
	closed bool
	idle   map[netip.AddrPort][]*upstream
}

func newUpstreams() *upstreams {
	return &upstreams{dialer: net.Dialer{Timeout: dialTimeout}, idle: map[netip.AddrPort][]*upstream{}}
}

// take is an idle connection, or nil.
func (p *upstreams) take(addr netip.AddrPort) *upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	stack := p.idle[addr]
	if len(stack) == 0 {
		return nil
	}
	top := stack[len(stack)-1]
	stack[len(stack)-1] = nil
	p.idle[addr] = stack[:len(stack)-1]
	return top
}

func (p *upstreams) dial(ctx context.Context, addr netip.AddrPort) (*upstream, error) {
	conn, err := p.dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	u := &upstream{conn: conn.(*net.TCPConn), addr: addr}
	u.wire = http1.NewSocket(conn)
	u.in, u.out = bufio.NewReaderSize(u, upstreamBuffer), bufio.NewWriterSize(u.wire, upstreamBuffer)
	return u, nil
}

// put keeps a connection whose answer was read whole.
func (p *upstreams) put(u *upstream) {
	u.idle = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	stack := p.idle[u.addr]
	if p.closed || len(stack) >= idlePerEndpoint {
		_ = u.conn.Close()
		return
	}
	p.idle[u.addr] = append(stack, u)
}

// sweep closes what was idle for too long, and everything when all is over.
func (p *upstreams) sweep(now time.Time, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = p.closed || all
	for addr, stack := range p.idle {
		old := 0
		for old < len(stack) && (all || now.Sub(stack[old].idle) > backendIdle) {
			_ = stack[old].conn.Close()
			old++
		}
		switch {
		case old == len(stack):
			delete(p.idle, addr)
		case old > 0:
			p.idle[addr] = append([]*upstream(nil), stack[old:]...)
		}
	}
}

// run sweeps until ctx ends.
func (p *upstreams) run(ctx context.Context) {
	ticker := time.NewTicker(backendIdle / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			p.sweep(time.Now(), true)
			return
		case now := <-ticker.C:
			p.sweep(now, false)
		}
	}
}
