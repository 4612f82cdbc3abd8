package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestNetworkFlags(t *testing.T) {
	for _, tc := range []struct {
		args    string
		nodeIPs string
		fault   string // part of the error; empty: none
	}{
		{"", "", ""},
		{"--service-cidr=127.43.0.0/16", "", ""},
		{"", "10.0.0.1", ""},
		{"--network-backend=vxlan --pod-mtu=1400 --masquerade=false", "10.0.0.1,fd00::1", ""},
		{"--cluster-cidr=10.42.0.0/16,fd42::/48 --service-cidr=10.43.0.0/16", "10.0.0.1", ""},
		{"--cluster-cidr=10.42.0.0/16", "", "--node-ip"},
		{"--cluster-cidr=10.42.0.1/16", "10.0.0.1", "10.42.0.0/16"},
		{"--service-cidr=127.43.0.0/16", "10.0.0.1", "--service-cidr"},
		{"--service-cidr=10.43.0.0", "10.0.0.1", "--service-cidr"},
		{"--network-backend=pigeon", "10.0.0.1", "pigeon"},
		{"--pod-mtu=68", "10.0.0.1", "MTU"},
		{"", "10.0.0.1,10.0.0.2", "another of its family"},
	} {
		t.Run(tc.args+" "+tc.nodeIPs, func(t *testing.T) {
			var o networkFlags
			f := pflag.NewFlagSet("worker", pflag.ContinueOnError)
			o.addFlags(f)
			if err := f.Parse(strings.Fields(tc.args)); err != nil {
				t.Fatal(err)
			}
			var ips []netip.Addr
			for text := range strings.SplitSeq(tc.nodeIPs, ",") {
				if ip, err := netip.ParseAddr(text); err == nil {
					ips = append(ips, ip)
				}
			}
			err := o.parse(ips)
			if (err == nil) != (tc.fault == "") || err != nil && !strings.Contains(err.Error(), tc.fault) {
				t.Errorf("error %v, want one about %q", err, tc.fault)
			}
		})
	}
}
