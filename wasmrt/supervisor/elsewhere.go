package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
	"github.com/petrelrun/petrel/wasmrt/supervisor/netns"
)

// annotationNetns names the network namespace that a sandbox lives in, which somebody else made: its guests share localhost
// and addresses with whoever is in it.
const annotationNetns = annotationPrefix + "netns"

// enterSpace opens the namespace that the sandbox is to live in; nil where it lives in the supervisor's own.
func (s *Supervisor) enterSpace(config *runtimev1.PodSandboxConfig) (*netns.Space, error) {
	path := config.GetAnnotations()[annotationNetns]
	if path == "" {
		return nil, nil
	}
	if err := s.trusted(annotationNetns, path); err != nil {
		return nil, err
	}
	space, err := netns.Open(path)
	if err == nil {
		err = space.Do(func() error { return nil }) // whether it may be entered is known now
		if err != nil {
			err = errors.Join(err, space.Close())
		}
	}
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "annotation %s: %v", annotationNetns, err)
	}
	return space, nil
}

// addressIn answers where others reach a sandbox that lives in a namespace of its own: what the client says, or what is
// found there. Several sandboxes may have one.
func addressIn(space *netns.Space, config *runtimev1.PodSandboxConfig) (string, error) {
	first, _, _ := strings.Cut(config.GetAnnotations()[annotationPodIP], ",")
	if first = strings.TrimSpace(first); first != "" {
		addr, err := netip.ParseAddr(first)
		if err != nil {
			return "", status.Errorf(codes.InvalidArgument, "annotation %s: %q is no IP address", annotationPodIP, first)
		}
		return addr.Unmap().String(), nil
	}
	addr, err := space.Address()
	if err != nil {
		return "", status.Errorf(codes.FailedPrecondition, "annotation %s: %v", annotationNetns, err)
	}
	if !addr.IsValid() {
		return "", nil
	}
	return addr.String(), nil
}

// leaveSpace lets go of a sandbox's namespace, which may end then.
func (s *Supervisor) leaveSpace(b *sandbox) {
	s.mu.Lock()
	space := b.space
	b.space = nil
	s.mu.Unlock()
	if space != nil {
		_ = space.Close()
	}
}

// reach is where a ready sandbox listens: at an address, or in a namespace.
func (s *Supervisor) reach(id string) (string, *netns.Space, error) {
	b, err := s.findSandbox(id)
	if err != nil {
		return "", nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !b.record.Ready || b.apart && b.space == nil {
		return "", nil, status.Errorf(codes.FailedPrecondition, "sandbox %s is not ready", b.record.ID)
	}
	first, _, _ := strings.Cut(b.record.Address, ",")
	return first, b.space, nil
}

// dialPod connects to a port of a ready sandbox.
func (s *Supervisor) dialPod(ctx context.Context, id string, port uint16) (net.Conn, error) {
	address, space, err := s.reach(id)
	if err != nil {
		return nil, err
	}
	if space != nil {
		return space.Dial(ctx, port)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
}

// equip makes what a container that is about to start needs of another namespace: it answers the sockets to listen at, and
// sees to those that it will want for connections. Nothing, where the sandbox lives in ours.
func (s *Supervisor) equip(ctx context.Context, c *container, r *fleet.Runner) (listeners []*os.File, err error) {
	if !c.sandbox.apart {
		return nil, nil
	}
	s.mu.RLock()
	space, abi := c.sandbox.space, module.ABI(c.record.Status.ABI)
	s.mu.RUnlock()
	if space == nil {
		return nil, control.Errorf(control.CodePrecondition, "its network namespace is gone")
	}
	if err := s.feed(ctx, c, r, space); err != nil {
		return nil, err
	}
	if abi == module.ABICommand {
		return nil, nil
	}
	ports, _, err := containerPorts(c.sandbox.config.sandboxConfig(), c.config.containerConfig())
	if err != nil {
		return nil, err
	}
	for _, port := range control.ListenPorts(ports) {
		file, err := space.Listen(port)
		if err != nil {
			control.CloseFiles(listeners)
			return nil, err
		}
		listeners = append(listeners, file)
	}
	return listeners, nil
}

// feed has a container get its sockets from us, where it is granted to reach anything.
func (s *Supervisor) feed(ctx context.Context, c *container, r *fleet.Runner, space *netns.Space) error {
	if c.sandbox.config.sandboxConfig().GetAnnotations()[annotationPrefix+"egress"] == "" {
		return nil
	}
	ours, theirs, err := netns.Pair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	if _, err := r.Exchange(ctx, control.MethodSource, control.Target{ID: c.record.ID}, []*os.File{theirs}, nil); err != nil {
		return errors.Join(fmt.Errorf("hand over source of sockets: %w", err), ours.Close())
	}
	s.sources.serve(space, ours, func(err error) {
		s.cfg.Logger.Warn("a container's sockets are not made any more", "container", c.record.ID, "error", err)
	})
	return nil
}

// feedAgain is for the containers of a runner that was adopted: who made their sockets before has gone.
func (s *Supervisor) feedAgain(ctx context.Context, r *fleet.Runner) {
	for _, c := range s.containersIn(r) {
		s.mu.RLock()
		space, now := c.sandbox.space, c.record.Status.State
		s.mu.RUnlock()
		if space == nil || now != control.StateRunning {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		if err := s.feed(ctx, c, r, space); err != nil {
			s.cfg.Logger.Error("a container gets no sockets", "container", c.record.ID, "error", err)
		}
		cancel()
	}
}

// sources are the connections over which sockets are asked for.
type sources struct {
	wg     sync.WaitGroup
	mu     sync.Mutex
	conns  map[*net.UnixConn]struct{}
	closed bool
}

// serve answers over a connection until its other end, or all of them, is closed.
func (l *sources) serve(space *netns.Space, conn *net.UnixConn, failed func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close()
		return
	}
	if l.conns == nil {
		l.conns = map[*net.UnixConn]struct{}{}
	}
	l.conns[conn] = struct{}{}
	l.wg.Go(func() {
		if err := space.Serve(conn); err != nil {
			failed(err)
		}
		l.mu.Lock()
		delete(l.conns, conn)
		l.mu.Unlock()
	})
}

func (l *sources) close() {
	l.mu.Lock()
	l.closed = true
	for conn := range l.conns {
		_ = conn.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
}
