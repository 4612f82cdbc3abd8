package runner

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// socketServer is a command that is handed listening sockets at its pod's address and serves by itself, for as long as it
// wants.
type socketServer struct {
	*command
	listeners []net.Listener
}

func newSocketServer(ctx context.Context, c *container, given listening) (*socketServer, error) {
	at, err := endpoints(c.params)
	if err != nil {
		return nil, err
	}
	if c.params.Elsewhere && len(given.given) != len(at) {
		return nil, fmt.Errorf("listen at %d ports: %d sockets were given", len(at), len(given.given))
	}
	s := &socketServer{}
	var lc net.ListenConfig
	for i, addr := range at {
		var l net.Listener
		var err error
		if c.params.Elsewhere {
			l, err = net.FileListener(given.given[i])
		} else {
			l, err = lc.Listen(ctx, "tcp", addr.String())
		}
		if err != nil {
			return nil, errors.Join(explainListen(addr, err), s.close())
		}
		s.listeners = append(s.listeners, l)
	}
	spec := c.spec
	spec.Listeners = s.listeners
	s.command = newCommand(ctx, c.template.Template, spec, c.params.WallTime)
	return s, nil
}

func (s *socketServer) start(done func(exit)) {
	s.command.start(func(e exit) {
		_ = s.close()
		done(e)
	})
}

// drain ends listening, for the guest's own descriptors of the sockets, too: a server whose accept fails may finish what it
// does, and end. It is the one sign that WASI lets us give.
func (s *socketServer) drain() {
	for _, l := range s.listeners {
		if raw, err := l.(*net.TCPListener).SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) }) // it may have ended
		}
	}
}

func (s *socketServer) close() error {
	var errs []error
	for _, l := range s.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *socketServer) stats(out *control.ContainerStats) { s.command.stats(out) }
