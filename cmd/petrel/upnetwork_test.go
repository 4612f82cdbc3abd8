package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestUpAddresses: pods of petrel up have addresses of the networks that --pod-cidr names, one of each family.
func TestUpAddresses(t *testing.T) {
	for _, tc := range []struct {
		pods  string
		want  []netip.Prefix
		fault string // part of the error; empty: none
	}{
		{"10.42.0.0/16", []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, ""},
		{"10.42.0.0/16,fd42::/64", []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/64")}, ""},
		{"10.42.0.0/16,10.44.0.0/16", nil, "one network of each family"},
		{"10.42.0.0/16,", nil, "--pod-cidr"},
		{"10.42.0.1/16", nil, "10.42.0.0/16"},
	} {
		o := upOptions{Listen: "10.0.0.1:8080", PodCIDR: tc.pods, ServiceCIDR: clusterServices}
		o.Network.ips = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
		a, err := o.addresses()
		if tc.fault != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fault) {
				t.Errorf("%s: error %v, want one about %q", tc.pods, err, tc.fault)
			}
			continue
		}
		if err != nil || !slices.Equal(a.Pods, tc.want) {
			t.Errorf("%s: %v, %v", tc.pods, a.Pods, err)
		}
	}
}
