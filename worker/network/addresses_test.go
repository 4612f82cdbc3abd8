package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func dualStack(t *testing.T, cidrs ...string) *addresses {
	t.Helper()
	a := newAddresses()
	var prefixes []netip.Prefix
	for _, c := range cidrs {
		prefixes = append(prefixes, netip.MustParsePrefix(c))
	}
	must(t, a.use(prefixes))
	return a
}

func TestTakeOfBothFamilies(t *testing.T) {
	a := dualStack(t, "10.42.1.0/24", "fd42:0:0:1::/64")
	got, err := a.take("pod", "")
	if err != nil || fmt.Sprint(got) != "[10.42.1.1 fd42:0:0:1::2]" {
		t.Fatalf("took %v, %v", got, err)
	}
	again, err := a.take("pod", "c")
	if err != nil || !slices.Equal(got, again) || a.used() != 1 {
		t.Errorf("took %v, %v; %d owners", again, err, a.used())
	}
}

// TestAddressesStayUntilAllLetGo: an old sandbox that is still there would answer for a new owner of its address.
func TestAddressesStayUntilAllLetGo(t *testing.T) {
	a := dualStack(t, "10.42.1.0/28")
	for _, order := range [][]string{{"", "c1", "c2"}, {"c2", "", "c1"}, {"c1", "c2", ""}} {
		for _, c := range order {
			if _, err := a.take("pod", c); err != nil {
				t.Fatal(err)
			}
		}
		for i, c := range order {
			if a.used() != 1 {
				t.Fatalf("%v: free after %d of 3 let go", order, i)
			}
			a.free("pod", c)
			a.free("pod", c)
		}
		if a.used() != 0 || a.pools[0].Used() != 0 {
			t.Errorf("%v: still held by nobody", order)
		}
	}
	a.free("nobody", "")
	a.freeContainer("nothing")
}

func TestVanishedContainersLetGo(t *testing.T) {
	a := dualStack(t, "10.42.1.0/24")
	for _, c := range []string{"c1", "c2", "c3"} {
		_, err := a.take("pod-"+c, c)
		must(t, err)
	}
	_, err := a.take("pod-c1", "")
	must(t, err)
	a.keep(map[string]bool{"c3": true})
	if a.used() != 2 || a.held["pod-c2"] != nil {
		t.Errorf("%d owners: want the one with an agent and the one with a container", a.used())
	}
}

func TestNoAddressWithoutBothFamilies(t *testing.T) {
	a := dualStack(t, "10.42.1.0/24", "fd42::/120")
	for i := range 254 {
		_, err := a.take(fmt.Sprint(i), "")
		must(t, err)
	}
	if _, err := a.take("late", ""); !errors.Is(err, ErrExhausted) {
		t.Fatalf("a full pool: %v", err)
	}
	if a.used() != 254 || a.pools[0].Used() != 254 {
		t.Errorf("%d owners hold %d IPv4 addresses: what a failed take got stays taken", a.used(), a.pools[0].Used())
	}
}

func TestReservationsBeforeThePrefixIsKnown(t *testing.T) {
	a := newAddresses()
	if _, err := a.take("pod", ""); !errors.Is(err, ErrNoPodCIDR) {
		t.Fatalf("without a prefix: %v", err)
	}
	early := netip.MustParseAddr("10.42.1.1")
	must(t, a.reserve("adopted", "", early))
	must(t, a.reserve("ended", "", netip.MustParseAddr("10.42.1.2")))
	if err := a.reserve("thief", "", early); err == nil {
		t.Error("another's address was reserved")
	}
	a.free("ended", "")
	must(t, a.use([]netip.Prefix{netip.MustParsePrefix("10.42.1.0/24")}))
	if got, err := a.take("adopted", ""); err != nil || got[0] != early {
		t.Errorf("the adopted pod has %v, %v", got, err)
	}
	if got, err := a.take("new", ""); err != nil || got[0] != netip.MustParseAddr("10.42.1.2") {
		t.Errorf("a new pod has %v, %v", got, err)
	}
	if err := a.reserve("stranger", "", netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("an address of elsewhere was reserved")
	}
}

func TestAnotherPrefix(t *testing.T) {
	a := dualStack(t, "10.42.1.0/24", "fd42:0:0:1::/64")
	old, err := a.take("old", "")
	must(t, err)
	must(t, a.use([]netip.Prefix{netip.MustParsePrefix("10.42.9.0/24"), netip.MustParsePrefix("fd42:0:0:1::/64")}))
	fresh, err := a.take("fresh", "")
	if err != nil || fresh[0] != netip.MustParseAddr("10.42.9.1") || fresh[1] == old[1] {
		t.Errorf("took %v, %v; before %v", fresh, err, old)
	}
	a.free("old", "")
	if a.used() != 1 {
		t.Errorf("%d owners", a.used())
	}
	if err := a.use([]netip.Prefix{netip.MustParsePrefix("10.42.9.0/30")}); err == nil {
		t.Error("a prefix without room was taken")
	}
	if got := a.prefixes(); len(got) != 2 {
		t.Errorf("after a prefix that cannot be used: %v", got)
	}
}

// FuzzAlias: links are made by others too, and their aliases may say anything.
func FuzzAlias(f *testing.F) {
	f.Add(newEndpoint(Attachment{ContainerID: "c", Owner: "o", IfName: "eth0"}, []netip.Addr{gateway4, gateway6}, 1500).alias())
	f.Add("petrel/1 o c eth0 ")
	f.Add("petrel/1 o c eth0 1.2.3.4,")
	f.Fuzz(func(t *testing.T, alias string) {
		e, ok := parseAlias(alias, 1500)
		if !ok {
			return
		}
		if len(e.Addrs) == 0 || len(e.HostName) > maxInterfaceName {
			t.Errorf("%q is %+v", alias, e)
		}
		if again, ok := parseAlias(e.alias(), 1500); !ok || again.key() != e.key() || !slices.Equal(again.Addrs, e.Addrs) {
			t.Errorf("%q is %+v, and then %+v", alias, e, again)
		}
	})
}

// FuzzNodes: what is on disk may be of another version, or half gone.
func FuzzNodes(f *testing.F) {
	f.Add([]byte(`[{"name":"a","ips":["10.0.0.1"],"podCIDRs":["10.42.1.0/24"]}]`))
	f.Add([]byte(`[{"podCIDRs":["10.42.1.0/24","10.42.1.0/24"]}]`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, content []byte) {
		nodes, err := decodeNodes(content)
		if err != nil {
			return
		}
		cfg := Config{Mode: Cluster, NodeName: "a", NodeIPs: []netip.Addr{netip.MustParseAddr("192.168.7.1")}, Backend: Auto}
		p := makePlan(&cfg, nil, nodes, way{}, atlas)
		for _, r := range p.routes(1, 2) {
			if !r.dst.IsValid() {
				t.Errorf("a route to nowhere for %s", content)
			}
		}
	})
}
