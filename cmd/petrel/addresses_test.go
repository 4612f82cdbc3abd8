package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestClusterFlags(t *testing.T) {
	for name, c := range map[string]struct {
		flags     clusterFlags
		services  string
		complaint string
	}{
		"loopback":          {clusterFlags{}, "127.43.0.0/16", ""},
		"other loopback":    {clusterFlags{Services: "127.45.0.0/16"}, "127.45.0.0/16", ""},
		"machines":          {clusterFlags{Pods: []string{"10.42.0.0/16"}}, "10.43.0.0/16", ""},
		"both families":     {clusterFlags{Pods: []string{"10.42.0.0/16", "fd00:42::/48"}, Services: "10.96.0.0/12", Advertise: "192.0.2.1"}, "10.96.0.0/12", ""},
		"no machines":       {clusterFlags{Services: "10.43.0.0/16"}, "", "add --cluster-cidr"},
		"loopback services": {clusterFlags{Pods: []string{"10.42.0.0/16"}, Services: "127.43.0.0/16"}, "", "another address on each machine"},
		"loopback pods":     {clusterFlags{Pods: []string{"127.42.0.0/16"}}, "", "same on each machine"},
		"overlap":           {clusterFlags{Pods: []string{"10.0.0.0/8"}}, "", "overlaps"},
		"a family twice":    {clusterFlags{Pods: []string{"10.42.0.0/16", "10.44.0.0/16"}}, "", "one network of each family"},
		"host bits":         {clusterFlags{Pods: []string{"10.42.0.1/16"}}, "", "did you mean 10.42.0.0/16?"},
		"no network":        {clusterFlags{Pods: []string{"ten"}}, "", "--cluster-cidr"},
		"no services":       {clusterFlags{Services: "ten"}, "", "--service-cidr"},
		"no address":        {clusterFlags{Advertise: "ten"}, "", "--advertise-address"},
		"own address":       {clusterFlags{Pods: []string{"10.42.0.0/16"}, Advertise: "127.0.0.1"}, "", "do not reach"},
	} {
		a, err := c.flags.parse()
		if c.complaint != "" {
			if err == nil || !strings.Contains(err.Error(), c.complaint) {
				t.Errorf("%s: %v, want %q", name, err, c.complaint)
			}
			continue
		}
		if err != nil || a.Services.String() != c.services || len(a.Pods) != len(c.flags.Pods) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

func TestReachable(t *testing.T) {
	machines := clusterAddresses{Pods: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}}
	advertised := machines
	advertised.Advertise = netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		addresses clusterAddresses
		listen    string
		ok        bool
	}{
		{clusterAddresses{}, "127.0.0.1:8080", true}, {machines, "127.0.0.1:8080", false}, {machines, "localhost:8080", false},
		{machines, "0.0.0.0:6443", true}, {machines, "192.0.2.1:6443", true}, {advertised, "127.0.0.1:8080", true},
	} {
		if err := c.addresses.reachable(c.listen); (err == nil) != c.ok {
			t.Errorf("%v at %s: %v", c.addresses, c.listen, err)
		}
	}
}

func TestNodeIPs(t *testing.T) {
	got, err := parseNodeIPs([]string{"10.40.1.11", "fd00::b"})
	if want := []netip.Addr{netip.MustParseAddr("10.40.1.11"), netip.MustParseAddr("fd00::b")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"node-1", "127.0.0.1", "0.0.0.0", "224.0.0.1", "fe80::1%eth0"} {
		if got, err := parseNodeIPs([]string{bad}); err == nil {
			t.Errorf("%s gives %v", bad, got)
		}
	}
}
