package control

import (
	"net/netip"
	"os"
)

// StartParams asks to start a container.
type StartParams struct {
	ID string `json:"id"`
	// Shared has what can listen at the sockets that the runner has for all its containers: somebody steers there what
	// arrives for its addresses. What cannot has sockets of its own.
	Shared bool `json:"shared,omitempty"`
	// Listeners is how many descriptors come along that listen where the container does, in the order of its ports: it is in
	// another network than the runner.
	Listeners int `json:"listeners,omitempty"`
	// Refused says why it cannot be started: it exits then, as when starting fails.
	Refused string `json:"refused,omitempty"`
}

// Shared is where containers listen by way of the shared sockets, and those sockets, by their networks.
type Shared struct {
	Addresses []netip.AddrPort `json:"addresses,omitempty"`
	Listeners []string         `json:"listeners,omitempty"` // tcp4, tcp6: the descriptors that come along, in this order

	Files []*os.File `json:"-"`
}

// Carry implements Carrier.
func (s *Shared) Carry() []*os.File { return s.Files }

// StartResult is a container that was started.
type StartResult struct {
	Status
	Shared
}

// SharedContainer is where a container listens by way of the shared sockets.
type SharedContainer struct {
	ID        string           `json:"id"`
	Addresses []netip.AddrPort `json:"addresses"`
}

// SharedResult is one page; More says that another follows.
type SharedResult struct {
	Containers []SharedContainer `json:"containers,omitempty"`
	More       bool              `json:"more,omitempty"`
	Shared
}
