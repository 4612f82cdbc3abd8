package shim

import (
	"net"
	"sync"
	"time"
)

// counter is a listener that knows how many of its connections are open, and when the last one came.
type counter struct {
	net.Listener

	mu   sync.Mutex
	n    int
	came time.Time
}

func newCounter(l net.Listener) *counter { return &counter{Listener: l, came: time.Now()} }

// Accept counts a connection until it is closed.
func (c *counter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	c.came = time.Now()
	return &counted{Conn: conn, of: c}, nil
}

func (c *counter) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *counter) last() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.came
}

type counted struct {
	net.Conn
	of   *counter
	once sync.Once
}

// Close counts the connection no longer.
func (c *counted) Close() error {
	c.once.Do(func() {
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		c.of.n--
	})
	return c.Conn.Close()
}
