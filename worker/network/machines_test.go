package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// machine is a network namespace of the test's own. It ends with the test.
type machine struct {
	t    testing.TB
	name string
	space
}

// newMachine makes a namespace without a name: it lives as long as its file descriptor. Only the right to make one may
// be missing.
func newMachine(t testing.TB, name string) *machine {
	t.Helper()
	type made struct {
		ns  netns.NsHandle
		err error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine: it is of no use to others
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{err: err}
			return
		}
		ns, err := netns.Get()
		done <- made{ns, err}
	}()
	m := <-done
	if errors.Is(m.err, unix.EPERM) {
		t.Skipf("%s: making a network namespace: %v", t.Name(), m.err)
	}
	must(t, m.err)
	h, err := netlink.NewHandleAt(m.ns, unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(func() { h.Close(); m.ns.Close() })
	out := &machine{t: t, name: name, space: space{Handle: h, ns: m.ns}}
	lo, err := h.LinkByName("lo")
	must(t, err)
	must(t, h.LinkSetUp(lo))
	out.sysctl("ipv6/conf/default/accept_dad", "0") // a link is to be of use at once, not some seconds later
	if what := lacking(out); what != "" {
		t.Skipf("%s: this kernel has no %s", t.Name(), what)
	}
	return out
}

var (
	lackOnce sync.Once
	lack     string
)

// lacking names what the kernel cannot do, tried once, on whatever machine is there. Anything but "not supported" is
// for the tests to find.
func lacking(m *machine) string {
	lackOnce.Do(func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "probe"
		for _, link := range []netlink.Link{
			netlink.NewVeth(attrs), &netlink.Bridge{LinkAttrs: attrs}, &netlink.Vxlan{LinkAttrs: attrs, VxlanId: 1, Port: 1},
		} {
			if v, ok := link.(*netlink.Veth); ok {
				v.PeerName = "peer"
			}
			err := m.LinkAdd(link)
			if errors.Is(err, unix.EOPNOTSUPP) {
				lack = link.Type() + " links"
			} else if err == nil {
				err = m.LinkDel(link)
			}
			if err != nil {
				return
			}
		}
		conn, err := m.nftables()
		if err == nil {
			_, err = conn.ListTables()
		}
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
			lack = "nftables"
		}
	})
	return lack
}

// path names the namespace for whoever is in this process.
func (m *machine) path() string { return fmt.Sprintf("/proc/self/fd/%d", m.ns) }

// in runs f on a thread within the namespace: its sockets and its files below /proc/sys/net are there.
func (m *machine) in(f func() error) error { return m.run(f) }

func (m *machine) link(name string) netlink.Link {
	m.t.Helper()
	link, err := m.LinkByName(name)
	must(m.t, err)
	return link
}

// addr gives a link an address such as "10.0.0.1/24".
func (m *machine) addr(link, cidr string) {
	m.t.Helper()
	must(m.t, m.AddrReplace(m.link(link), testAddr(m.t, cidr)))
}

func (m *machine) noAddr(link, cidr string) {
	m.t.Helper()
	must(m.t, m.AddrDel(m.link(link), testAddr(m.t, cidr)))
}

func testAddr(t testing.TB, cidr string) *netlink.Addr {
	t.Helper()
	p := netip.MustParsePrefix(cidr)
	return &netlink.Addr{IPNet: &net.IPNet{IP: net.IP(p.Addr().AsSlice()), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, Flags: unix.IFA_F_NODAD}
}

func (m *machine) route(dst, via string) {
	m.t.Helper()
	must(m.t, m.RouteReplace(&netlink.Route{Dst: ipNet(netip.MustParsePrefix(dst)), Gw: net.IP(netip.MustParseAddr(via).AsSlice())}))
}

func (m *machine) sysctl(path, value string) {
	m.t.Helper()
	must(m.t, m.in(func() error { _, err := setSysctl(sysctl{path: path, value: value}); return err }))
}

// segment is one link that several machines are on: a bridge in a namespace of its own.
type segment struct {
	*machine
	ports int
}

func newSegment(t testing.TB, name string) *segment {
	t.Helper()
	m := newMachine(t, name)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br"
	snooping := false // it drops neighbour solicitations while nobody asks for listeners
	must(t, m.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}))
	must(t, m.LinkSetUp(m.link("br")))
	return &segment{machine: m}
}

// join plugs a machine into the segment by an interface of that name, MTU and addresses.
func (s *segment) join(m *machine, ifName string, mtu int, cidrs ...string) {
	s.t.Helper()
	s.ports++
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = fmt.Sprint("port", s.ports), mtu
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU, veth.PeerNamespace = ifName, uint32(mtu), netlink.NsFd(m.ns)
	must(s.t, s.LinkAdd(veth))
	port := s.link(attrs.Name)
	must(s.t, s.LinkSetMaster(port, s.link("br")))
	must(s.t, s.LinkSetUp(port))
	must(s.t, m.LinkSetUp(m.link(ifName)))
	must(s.t, m.awaitUp(ifName))
	must(s.t, s.awaitUp(attrs.Name))
	for _, c := range cidrs {
		m.addr(ifName, c)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
