package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/petrelrun/petrel/worker/dns"
)

// dnsFlags say what the node's DNS server answers for, and whom it asks.
type dnsFlags struct {
	Domain     string
	ResolvConf string
}

func (o *dnsFlags) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Domain, "cluster-domain", dns.DefaultDomain, "domain of the names of services and pods")
	f.StringVar(&o.ResolvConf, "resolv-conf", dns.DefaultResolvConf, "file that names the DNS servers for all other names, and what pods get whose dnsPolicy is Default")
}

func (o *dnsFlags) check() (err error) {
	if o.ResolvConf, err = filepath.Abs(o.ResolvConf); err != nil {
		return fmt.Errorf("--resolv-conf: %w", err)
	}
	return nil
}
