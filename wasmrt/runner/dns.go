package runner

import (
	"github.com/petrelrun/petrel/wasmrt/egress"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// withDNS has the policy look names up as the pod does.
func withDNS(p *egress.Policy, d *control.DNS) (*egress.Policy, error) {
	if d == nil {
		return p, nil
	}
	dns, err := egress.ParseDNS(d.Servers, d.Searches, d.Options)
	if err != nil {
		return nil, err
	}
	if d.Domain != "" {
		if dns, err = dns.Trusting(d.Domain, d.Networks); err != nil {
			return nil, err
		}
	}
	return p.WithDNS(dns), nil
}
