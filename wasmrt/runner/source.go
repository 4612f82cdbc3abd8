package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// sourceLimit bounds what making one socket takes: a few system calls of the supervisor's.
const sourceLimit = 10 * time.Second

var errNoSource = errors.New("the container has ended")

// source is where a container's sockets come from that lives in another network than this process: the supervisor makes
// them there. While there is no supervisor, whoever wants one waits for the next.
type source struct {
	asking chan struct{} // holds one while somebody asks

	mu     sync.Mutex
	conn   *net.UnixConn // nil: there is none now
	come   chan struct{} // closed when there is another, or none will be
	closed bool
}

func newSource() *source {
	return &source{asking: make(chan struct{}, 1), come: make(chan struct{})}
}

// use has sockets come from this connection from now on.
func (s *source) use(file *os.File) error {
	c, err := net.FileConn(file)
	if err != nil {
		return fmt.Errorf("use source of sockets: %w", err)
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return errors.Join(errors.New("use source of sockets: it is no unix socket"), c.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return conn.Close()
	}
	if s.conn != nil {
		_ = s.conn.Close()
	}
	s.conn = conn
	close(s.come)
	s.come = make(chan struct{})
	return nil
}

// close ends it: nobody gets a socket any more.
func (s *source) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.conn != nil {
		_ = s.conn.Close()
	}
	close(s.come)
}

// socket answers a socket made in the container's network.
func (s *source) socket(ctx context.Context, family, kind int) (*os.File, error) {
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		s.mu.Lock()
		conn, come, closed := s.conn, s.come, s.closed
		s.mu.Unlock()
		if closed {
			return nil, errNoSource
		}
		if conn != nil {
			file, errno, err := askSocket(conn, family, kind)
			if err == nil && errno != 0 {
				return nil, os.NewSyscallError("socket", errno)
			}
			if err == nil {
				return file, nil
			}
			s.drop(conn)
		}
		select {
		case <-come:
		case <-ctx.Done():
			return nil, fmt.Errorf("there is no supervisor to make a socket: %w", ctx.Err())
		}
	}
}

// drop forgets a connection that is of no use any more.
func (s *source) drop(conn *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = conn.Close()
	if s.conn == conn {
		s.conn = nil
	}
}

// askSocket asks for one socket. An error says that the connection is of no use.
func askSocket(conn *net.UnixConn, family, kind int) (*os.File, unix.Errno, error) {
	_ = conn.SetDeadline(time.Now().Add(sourceLimit))
	if _, err := conn.Write([]byte{byte(family), byte(kind)}); err != nil {
		return nil, 0, err
	}
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return nil, 0, err
	}
	if buf[0] != 0 {
		return nil, unix.Errno(buf[0]), nil
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, 0, errors.Join(err, errors.New("no socket came"))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, 0, errors.Join(err, errors.New("no socket came"))
	}
	return os.NewFile(uintptr(fds[0]), "socket"), 0, nil
}
