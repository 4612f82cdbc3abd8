package runner

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// endpoints answers where a container is to listen.
func endpoints(p *control.CreateParams) ([]netip.AddrPort, error) {
	addrs, err := p.Addresses()
	if err != nil {
		return nil, err
	}
	if p.Elsewhere && len(addrs) == 0 { // it has no address that others know
		addrs = []netip.Addr{netip.IPv6Unspecified()}
	}
	if len(addrs) == 0 {
		return nil, errors.New("a guest that serves needs a pod address to listen at, and its sandbox has none")
	}
	var at []netip.AddrPort
	for _, addr := range addrs {
		for _, port := range control.ListenPorts(p.Ports) {
			at = append(at, netip.AddrPortFrom(addr, port))
		}
	}
	return at, nil
}

// listening is how a container that starts gets to listen.
type listening struct {
	shared bool       // at the process's shared sockets, where it can
	given  []*os.File // at these, in the order of its endpoints; whoever takes one makes a copy
	// refused says why it cannot; empty: it can.
	refused string
}

// source has a container's sockets made by who is behind the descriptor that came along.
func (r *Runner) source(ctx context.Context, id string) error {
	files := control.TakeFiles(ctx)
	defer control.CloseFiles(files)
	c, err := r.find(id)
	if err != nil {
		return err
	}
	if len(files) != 1 {
		return control.Errorf(control.CodeInvalid, "%d descriptors came, want one", len(files))
	}
	if c.source == nil {
		return nil // it makes none
	}
	return c.source.use(files[0])
}

// explainListen says what to do about the errors that users can mend.
func explainListen(at netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen at %s: the port is taken: by another container of this pod, or by a program that listens on all addresses: %w", at, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen at %s: the address is not one of this host: %w", at, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen at %s: ports below net.ipv4.ip_unprivileged_port_start need privileges: %w", at, err)
	}
	return fmt.Errorf("listen at %s: %w", at, err)
}
