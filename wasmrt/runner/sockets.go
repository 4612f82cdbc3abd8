package runner

import (
	"context"
	"errors"
	"net"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// socketServer is a command that is handed listening sockets at its pod's address and serves by itself, for as long as it
// wants.
type socketServer struct {
	*command
	listeners []net.Listener
}

func newSocketServer(ctx context.Context, c *container) (*socketServer, error) {
	at, err := endpoints(c.params)
	if err != nil {
		return nil, err
	}
	s := &socketServer{}
	var lc net.ListenConfig
	for _, addr := range at {
		l, err := lc.Listen(ctx, "tcp", addr.String())
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
		_ = s.close() // drain may have
		done(e)
	})
}

// drain closes the listeners: a server that sees its accept fail may finish what it does, and end.
func (s *socketServer) drain() { _ = s.close() }

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
