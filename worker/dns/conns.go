package dns

import (
	"net"
	"sync"
)

// limited accepts no more than so many connections at a time: those beyond wait in the kernel.
type limited struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	close  func() error
}

func limitConns(l net.Listener, n int) net.Listener {
	out := &limited{Listener: l, places: make(chan struct{}, n), closed: make(chan struct{})}
	out.close = sync.OnceValue(func() error {
		close(out.closed)
		return l.Close()
	})
	return out
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &placed{Conn: conn, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close implements net.Listener.
func (l *limited) Close() error { return l.close() }

// placed gives its place back when it is closed.
type placed struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (p *placed) Close() error {
	defer p.leave()
	return p.Conn.Close()
}
