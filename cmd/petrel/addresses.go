package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/spf13/pflag"

	"github.com/petrelrun/petrel/controlplane/auth"
)

// Networks that are taken where no flag names others.
const (
	loopbackServices = "127.43.0.0/16"
	clusterServices  = "10.43.0.0/16"
)

// clusterFlags say which addresses a cluster has: one of loopback addresses, on one machine, or one of many machines.
type clusterFlags struct {
	Pods      []string
	Services  string
	Advertise string
}

func (o *clusterFlags) addFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.Pods, "cluster-cidr", nil, "addresses of pods in a cluster of several machines, each of which gets a part, such as 10.42.0.0/16: one network of each family (default: a cluster of one machine, whose pods have loopback addresses)")
	f.StringVar(&o.Services, "service-cidr", "", "addresses of services (default "+loopbackServices+", or "+clusterServices+" with --cluster-cidr)")
	f.StringVar(&o.Advertise, "advertise-address", "", "address by which the cluster reaches the API (default: the one of --listen)")
}

// clusterAddresses are what the flags say.
type clusterAddresses struct {
	Pods      []netip.Prefix // none: pods have loopback addresses
	Services  netip.Prefix
	Advertise netip.Addr // the zero Addr: that of --listen
}

func (o *clusterFlags) parse() (a clusterAddresses, err error) {
	if a.Pods, err = parsePrefixes("--cluster-cidr", o.Pods); err != nil {
		return a, err
	}
	services := o.Services
	switch {
	case services == "" && len(a.Pods) > 0:
		services = clusterServices
	case services == "":
		services = loopbackServices
	}
	if a.Services, err = netip.ParsePrefix(services); err != nil {
		return a, fmt.Errorf("--service-cidr: %w", err)
	}
	if o.Advertise != "" {
		if a.Advertise, err = netip.ParseAddr(o.Advertise); err != nil {
			return a, fmt.Errorf("--advertise-address: %w", err)
		}
	}
	return a, a.check()
}

func parsePrefixes(flag string, all []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range all {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		if p != p.Masked() {
			return nil, fmt.Errorf("%s: %s has bits of a host: did you mean %s?", flag, p, p.Masked())
		}
		out = append(out, p)
	}
	return out, nil
}

// check finds what does not go together.
func (a *clusterAddresses) check() error {
	if len(a.Pods) == 0 {
		if !a.Services.Addr().IsLoopback() {
			return fmt.Errorf("--service-cidr: %s is outside 127.0.0.0/8, which takes a cluster of machines: add --cluster-cidr", a.Services)
		}
		return nil
	}
	if a.Services.Addr().IsLoopback() {
		return fmt.Errorf("--service-cidr: %s would be another address on each machine of the cluster that --cluster-cidr asks for", a.Services)
	}
	if a.Advertise.IsLoopback() || a.Advertise.IsUnspecified() {
		return fmt.Errorf("--advertise-address: other machines do not reach this one by %s", a.Advertise)
	}
	families := map[bool]bool{}
	for _, p := range a.Pods {
		if p.Addr().IsLoopback() {
			return fmt.Errorf("--cluster-cidr: %s is the same on each machine", p)
		}
		if p.Overlaps(a.Services) {
			return fmt.Errorf("--cluster-cidr: %s overlaps with --service-cidr %s", p, a.Services)
		}
		if families[p.Addr().Is4()] {
			return errors.New("--cluster-cidr: one network of each family, IPv4 and IPv6, is what there can be")
		}
		families[p.Addr().Is4()] = true
	}
	return nil
}

// reachable checks that machines of the cluster can reach an API that listens there.
func (a *clusterAddresses) reachable(listen string) error {
	if host, _, err := net.SplitHostPort(listen); err == nil && len(a.Pods) > 0 && !a.Advertise.IsValid() && auth.IsLoopbackHost(host) {
		return fmt.Errorf("--listen: other machines of the cluster that --cluster-cidr asks for do not reach %s: listen on an address of theirs, or name one that leads here with --advertise-address", listen)
	}
	return nil
}

// parseNodeIPs reads the addresses by which other machines reach a worker.
func parseNodeIPs(all []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range all {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--node-ip: %w", err)
		}
		if ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" {
			return nil, fmt.Errorf("--node-ip: other machines do not reach this one by %s", ip)
		}
		out = append(out, ip)
	}
	return out, nil
}
