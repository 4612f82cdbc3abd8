package ebpfproxy

import (
	"net/netip"
	"strconv"
	"time"
)

// Protocol is a transport protocol by the kernel's number.
type Protocol uint8

const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	}
	return "protocol " + strconv.Itoa(int(p))
}

// Scope says who finds a frontend. Packets from outside find External ones only. Sockets on this node find Internal ones,
// and an External one where no Internal one has the same address, port and protocol: a caller gives both where
// the two are to reach different backends.
type Scope uint8

const (
	Internal Scope = iota // a ClusterIP
	External              // a node port, an external IP, a load balancer's address
)

// Frontend is where clients reach a service.
type Frontend struct {
	// Addr of a node port is the unspecified address of its family, or the zero Addr for both families: any address
	// that SetNodeAddresses named. A loopback address is that of the network namespace in which Open was called: sockets in
	// others have a localhost of their own.
	Addr     netip.Addr
	Port     uint16
	Protocol Protocol
	Scope    Scope
}

// BackendState says which clients a backend of a service serves.
type BackendState uint8

const (
	Active   BackendState = iota // serves new clients
	Draining                     // serves what is open and, while no backend is Active, new clients too: it terminates
	Unready                      // serves what is open, never a new client
)

// Backend is one server of a service. A backend that is no longer listed is gone: datagram sockets to it are ended, and
// streams after a while unless another service lists it.
type Backend struct {
	Addr  netip.Addr
	Port  uint16
	State BackendState
	Local bool   // on this node
	Name  string // for flows and counters; not interpreted
}

// Service is a frontend with its backends, which the caller has chosen already.
type Service struct {
	Frontend     Frontend
	Name         string         // for flows and counters; not interpreted
	Backends     []Backend      // in any order; of the frontend's address family
	Affinity     time.Duration  // a client stays with its backend so long after its last connection; 0: no affinity
	Maglev       bool           // choose by the client's address, the same on each node, rather than at random
	Drop         bool           // without a backend: let clients time out rather than refuse them
	SourceRanges []netip.Prefix // packets from elsewhere are turned away; nil: from anywhere. Sockets of this node may always.
	KeepClientIP bool           // External: backends see the client's address
}

// Counters of a service or of a backend, since it was added.
type Counters struct {
	Connections uint64 // TCP connects and first datagrams of clients
	Packets     uint64 // datagrams of sockets that are not connected, and packets forwarded
	Bytes       uint64 // of packets forwarded
	Refused     uint64 // clients turned away: no backend, or a source out of range
}

// ServiceStats are the counters of one service.
type ServiceStats struct {
	Frontend Frontend
	Name     string
	Counters
	Backends []BackendStats
}

// BackendStats are the counters of one backend of one service.
type BackendStats struct {
	Addr netip.AddrPort
	Name string
	Counters
}
