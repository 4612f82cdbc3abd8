package runner

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/front"
)

// settleLimit bounds how long the queue of a shared socket takes to be worked off.
const settleLimit = 5 * time.Second

// serveShared has the server get its addresses' connections from the process's shared sockets. False: there are none, as on
// a host without a family.
func (s *httpServer) serveShared(c *container, at []netip.AddrPort) (bool, error) {
	err := c.runner.front.Serve(s, at...)
	if errors.Is(err, front.ErrTaken) {
		return false, explainListen(at[0], errors.Join(syscall.EADDRINUSE, err))
	}
	if err != nil {
		c.runner.cfg.Logger.Warn("no shared socket", "container", c.params.ID, "error", err)
		return false, nil
	}
	s.front, s.shared = c.runner.front, at
	return true, nil
}

// sharing is where it listens by way of the shared sockets.
func (s *httpServer) sharing() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil
	}
	return s.shared
}

// Admit takes over a connection from a shared socket.
func (s *httpServer) Admit(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.done == nil {
		return false
	}
	if s.awake == nil {
		err := s.awaken()
		if isScarce(err) {
			time.AfterFunc(scarcePause, func() { s.admitLater(nc) })
			return true
		}
		if err != nil {
			go s.kill(err) // it takes the mutex
			return false
		}
	}
	_ = s.awake.server.ServeConn(nc) // else it has closed the connection
	return true
}

// admitLater tries again with a connection that there were no descriptors for.
func (s *httpServer) admitLater(nc net.Conn) {
	if !s.Admit(nc) {
		_ = nc.Close()
	}
}

// listenToo makes doors for what has been listening at the shared sockets alone.
func (s *httpServer) listenToo() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.doors) > 0 || len(s.shared) == 0 {
		return nil
	}
	if err := s.listenAt(s.shared); err != nil {
		return err
	}
	err := error(nil)
	if s.awake != nil {
		err = s.open(s.awake)
	} else {
		err = s.watch()
	}
	if err != nil {
		s.closeDoors()
	}
	return err
}

// settle returns when everybody has been let in who waited in the queue of a shared socket: nobody has refused them, so they
// are not to be hung up on. Whoever comes later is, when nobody can be waited for.
func (s *httpServer) settle(ctx context.Context) {
	if s.front != nil {
		_ = s.front.Settle(ctx)
	}
}
