package runner

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// defaultPort is where a guest listens when its pod names no port.
const defaultPort = 8080

// endpoints answers where a container is to listen.
func endpoints(p *control.CreateParams) ([]netip.AddrPort, error) {
	addr, err := netip.ParseAddr(p.Address)
	if err != nil {
		return nil, errors.New("a guest that serves needs a pod address to listen at, and its sandbox has none")
	}
	ports := slices.Clone(p.Ports)
	if len(ports) == 0 {
		ports = []uint16{defaultPort}
	}
	slices.Sort(ports)
	var at []netip.AddrPort
	for _, port := range slices.Compact(ports) {
		at = append(at, netip.AddrPortFrom(addr, port))
	}
	return at, nil
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
