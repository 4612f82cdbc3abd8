package streaming

import (
	"bufio"
	"net"
	"net/http"
)

// watched is a ResponseWriter that tells when the connection which is taken over from it is closed: the WebSocket library
// reads the connection, and closes it when the client has gone, but tells nobody.
type watched struct {
	http.ResponseWriter
	closed func()
}

// Hijack implements http.Hijacker.
func (w *watched) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &watchedConn{Conn: conn, closed: w.closed}, buffered, nil
}

type watchedConn struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *watchedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
