package ebpfproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// NAT serves clients outside the node: packets that come in on its interfaces for an External frontend of a Proxy go to
// a backend, and the answers come from the frontend. A backend on this node sees the client's address. One on another
// node sees an address of this node, unless the service says KeepClientIP; to reach it, the kernel must forward
// (net.ipv4.ip_forward, net.ipv6.conf.all.forwarding).
//
// The interfaces are to be all of those by which clients come and their answers leave, and those by which other nodes
// are reached. They must carry Ethernet frames. With PinDir set, the programs and the connections outlive the process.
type NAT struct {
	cfg   NATConfig
	proxy *Proxy

	mu         sync.Mutex // guards all below
	programs   *ebpf.Collection
	interfaces map[string]bool // wanted, by name
	attached   map[int]string  // by index: the name it had
	last       NATStats        // at the last sweep, to tell what is new
	entries    int             // at the last sweep
}

// NewNAT answers a NAT on proxy that has done nothing yet.
func NewNAT(proxy *Proxy, cfg NATConfig) (*NAT, error) {
	if proxy == nil {
		return nil, errors.New("configure nat: no proxy")
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure nat: %w", err)
	}
	return &NAT{cfg: cfg.withDefaults(), proxy: proxy, attached: map[int]string{}}, nil
}

// Open loads the programs and takes over the connections that an earlier process pinned. The Proxy must be open.
// Programs that serve already go on until SetInterfaces, which should come after the Proxy's first Sync.
func (n *NAT) Open(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.programs != nil {
		return errors.New("open nat: it is open")
	}
	if !n.proxy.isOpen() {
		return fmt.Errorf("open nat: %w", ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("open nat: %w", err)
	}
	spec, err := bpf.LoadNat()
	if err != nil {
		return fmt.Errorf("read packet programs: %w", err)
	}
	spec.Maps["petrel_nat"].MaxEntries = uint32(2 * n.cfg.Connections)
	spec.Maps["petrel_natfrag"].MaxEntries = uint32(n.cfg.Fragments)
	programs, err := n.proxy.loadShared(spec)
	if err != nil {
		return unsupported(fmt.Errorf("open nat: load packet programs: %w", err))
	}
	n.programs = programs
	if err := n.configure(func(c *bpf.NatNatConf) { c.PortMin, c.PortMax = n.cfg.PortMin, n.cfg.PortMax }); err != nil {
		n.programs.Close()
		n.programs = nil
		return fmt.Errorf("open nat: %w", err)
	}
	return nil
}

// Close lets go of the programs. Those of a Proxy with PinDir serve on; the Proxy's Close detaches them otherwise, and
// its Remove in any case.
func (n *NAT) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.programs != nil {
		n.programs.Close()
		n.programs = nil
	}
	return nil
}

// SetAddresses says which addresses are the node's: the first of each family is what it refuses clients from, and what
// masqueraded connections have where the routes name no other source.
func (n *NAT) SetAddresses(addrs []netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.programs == nil {
		return ErrClosed
	}
	var four, six [4]uint32
	for _, a := range addrs {
		to := &six
		if a = a.Unmap(); a.Is4() {
			to = &four
		}
		if *to == ([4]uint32{}) && a.IsValid() && !a.IsUnspecified() {
			*to = natAddr(a)
		}
	}
	return n.configure(func(c *bpf.NatNatConf) { c.Addr4, c.Addr6 = four, six })
}

// configure changes the programs' settings.
func (n *NAT) configure(change func(*bpf.NatNatConf)) error {
	var conf bpf.NatNatConf
	m := n.programs.Maps["petrel_natconf"]
	if err := m.Lookup(uint32(0), &conf); err != nil {
		return fmt.Errorf("read nat settings: %w", err)
	}
	change(&conf)
	if err := m.Put(uint32(0), &conf); err != nil {
		return fmt.Errorf("write nat settings: %w", err)
	}
	return nil
}

// natAddr is an address as the programs have it.
func natAddr(a netip.Addr) (words [4]uint32) {
	b := a.As16()
	for i := range words {
		words[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return words
}

func (p *Proxy) isOpen() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.tables != nil
}
