package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var errNotOpen = errors.New("pod network is not open")

// Network is a node's share in the pod network. Its methods are safe for concurrent use.
type Network struct {
	cfg   Config
	addrs *addresses
	poke  chan struct{}

	// kernel is held by whoever changes or compares what the kernel has.
	kernel sync.Mutex
	space  *space // nil while it is not open
	shown  string // the links that Config.Endpoints was told of last

	mu       sync.Mutex
	nodes    []Node
	mtu      int
	problems []string
	told     string // the problems that the log was told of last
}

// New makes a network. It does nothing before Open.
func New(cfg Config) (*Network, error) {
	cfg.setDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Network{cfg: cfg, addrs: newAddresses(), poke: make(chan struct{}, 1)}
	if err := n.addrs.use(cfg.PodCIDRs); err != nil {
		return nil, err
	}
	return n, nil
}

// Open takes over what stands and makes it what it should be, as far as is known yet: with the nodes that were known
// last, where Config.Dir remembers them. That a node cannot be reached, say, is no error of Open, but a lack of rights
// is; see Problems.
func (n *Network) Open(context.Context) error {
	if n.cfg.Mode == Loopback {
		return nil
	}
	nodes, err := loadNodes(n.cfg.Dir)
	if err != nil {
		n.cfg.Logger.Warn("last known nodes were not read; waiting for the control plane", "error", err)
	}
	n.kernel.Lock()
	if n.space == nil {
		n.space, err = openSpace(n.cfg.Netns)
	} else {
		err = nil
	}
	n.kernel.Unlock()
	if err != nil {
		return err
	}
	n.mu.Lock()
	known := n.nodes != nil
	if !known {
		n.nodes = nodes
	}
	n.mu.Unlock()
	if !known {
		n.adoptCIDRs(nodes)
	}
	if err := n.turn(); errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: a cluster of several machines needs root, or CAP_NET_ADMIN", err)
	}
	return nil
}

// SetNodes tells all nodes of the cluster, this one among them: its pod CIDRs are used from now on, unless Config has
// some.
func (n *Network) SetNodes(nodes []Node) {
	if n.cfg.Mode == Loopback {
		return
	}
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b Node) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	n.mu.Lock()
	same := n.nodes != nil && reflect.DeepEqual(n.nodes, nodes)
	n.nodes = nodes
	n.mu.Unlock()
	if same {
		return
	}
	n.adoptCIDRs(nodes)
	if err := saveNodes(n.cfg.Dir, nodes); err != nil {
		n.cfg.Logger.Warn("nodes were not written down", "error", err)
	}
	n.wake()
}

// adoptCIDRs takes this node's pod CIDRs from its entry.
func (n *Network) adoptCIDRs(nodes []Node) {
	if len(n.cfg.PodCIDRs) > 0 {
		return
	}
	at := slices.IndexFunc(nodes, func(node Node) bool { return node.Name == n.cfg.NodeName })
	if at < 0 || len(nodes[at].PodCIDRs) == 0 { // not registered yet, or not given any: what was known stands
		return
	}
	before := n.addrs.prefixes()
	err := checkPrefixes("pod CIDR", nodes[at].PodCIDRs)
	if err == nil {
		err = n.addrs.use(nodes[at].PodCIDRs)
	}
	if err != nil {
		n.cfg.Logger.Error("pod CIDR of this node cannot be used", "error", err)
		return
	}
	if after := n.addrs.prefixes(); !slices.Equal(before, after) {
		n.cfg.Logger.Info("pods get their addresses from", "podCIDRs", after, "before", before)
	}
}

// wake has Run take a turn soon.
func (n *Network) wake() {
	select {
	case n.poke <- struct{}{}:
	default:
	}
}

// turn compares everything with what it should be and mends it. Its error is among the problems, too.
func (n *Network) turn() error {
	n.kernel.Lock()
	p, err := n.mend()
	n.kernel.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.problems = nil
	if p != nil {
		n.mtu, n.problems = p.podMTU, p.problems
	}
	if err != nil {
		n.problems = append(n.problems, err.Error())
	}
	if told := fmt.Sprint(n.problems); told != n.told {
		n.told = told
		level, message := slog.LevelWarn, "pod network is not as it should be"
		if len(n.problems) == 0 {
			level, message = slog.LevelInfo, "pod network is as it should be"
		}
		n.cfg.Logger.Log(context.Background(), level, message, "problems", n.problems)
	}
	return err
}

// mend is one turn. Parts do not wait for one another's success, apart from what is made of them.
func (n *Network) mend() (*plan, error) {
	if n.space == nil {
		return nil, errNotOpen
	}
	p, loopback, err := n.plan()
	if err != nil {
		return nil, err
	}
	errs := []error{n.mendSysctls(p)}
	containers, err := n.mendContainers()
	errs = append(errs, err, n.tellEndpoints())
	tunnelLink, err := n.mendTunnel(p)
	errs = append(errs, err)
	if tunnelLink > 0 { // the tunnel's own filter setting exists only now
		errs = append(errs, n.mendSysctls(p))
	}
	errs = append(errs, n.space.mendRoutes(append(p.routes(loopback, tunnelLink), containers...)))
	if len(p.tunnels) == 0 {
		errs = append(errs, n.removeTunnel())
	}
	errs = append(errs, n.mendFilters(n.filters(p)))
	return p, errors.Join(errs...)
}

// plan decides on how the kernel is to look like, and finds the loopback device.
func (n *Network) plan() (*plan, int, error) {
	lo, err := n.space.LinkByName("lo")
	if err == nil && lo.Attrs().Flags&net.FlagUp == 0 {
		err = n.space.LinkSetUp(lo)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("set lo up: %w", err)
	}
	look := &lookups{space: n.space, links: map[int]netlink.Link{}}
	home, err := look.home(n.cfg.NodeIPs[0])
	if err != nil {
		return nil, 0, err
	}
	n.mu.Lock()
	nodes := n.nodes
	n.mu.Unlock()
	p := makePlan(&n.cfg, n.addrs.prefixes(), nodes, home, look.way)
	if home.link == 0 {
		p.problems = append(p.problems, fmt.Sprintf("no interface has this node's address %s", n.cfg.NodeIPs[0]))
	}
	return p, lo.Attrs().Index, nil
}

// Take gives owner its addresses, the ones it has when it has some. The error is ErrNoPodCIDR while the node has no
// prefix, ErrExhausted when none is left.
func (n *Network) Take(owner string) ([]netip.Addr, error) { return n.addrs.take(owner, "") }

// Reserve notes that owner has an address already, as found after a restart.
func (n *Network) Reserve(owner string, addr netip.Addr) error {
	return n.addrs.reserve(owner, "", addr)
}

// Free lets go of owner's addresses; a container that is still attached keeps them until it is detached. An owner
// without any is no error.
func (n *Network) Free(owner string) { n.addrs.free(owner, "") }

// Used counts who has addresses.
func (n *Network) Used() int { return n.addrs.used() }

// PodCIDRs are what this node's pods get their addresses from; none while they are not known.
func (n *Network) PodCIDRs() []netip.Prefix { return n.addrs.prefixes() }

// Prefix is the first of PodCIDRs; the zero Prefix while they are not known.
func (n *Network) Prefix() netip.Prefix {
	if all := n.addrs.prefixes(); len(all) > 0 {
		return all[0]
	}
	return netip.Prefix{}
}

// Problems tells what keeps the network from being as it should be, for people.
func (n *Network) Problems() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.problems)
}

// podMTU is that of the next container's link.
func (n *Network) podMTU() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mtu == 0 {
		return defaultMTU
	}
	return n.mtu
}

// Close lets go of the kernel and leaves everything that running pods need.
func (n *Network) Close() error {
	n.kernel.Lock()
	defer n.kernel.Unlock()
	if n.space != nil {
		n.space.close()
		n.space = nil
	}
	return nil
}

// Remove removes everything that is ours from the kernel and the disk, containers' links included, and closes. It must
// not run beside Run.
func (n *Network) Remove() error {
	if n.cfg.Mode == Loopback {
		return nil
	}
	n.kernel.Lock()
	defer n.kernel.Unlock()
	if n.space == nil {
		var err error
		if n.space, err = openSpace(n.cfg.Netns); err != nil {
			return err
		}
	}
	defer func() {
		n.space.close()
		n.space = nil
	}()
	errs := []error{forgetNodes(n.cfg.Dir)}
	all, halves, err := n.veths()
	errs = append(errs, err, n.removeHalves(halves))
	for _, s := range all {
		errs = append(errs, n.removeLink(s.HostName))
		n.addrs.freeContainer(s.key())
	}
	return errors.Join(append(errs, n.space.mendRoutes(nil), n.removeTunnel(), n.removeFilters())...)
}
