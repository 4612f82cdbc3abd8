package dns

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"github.com/petrelrun/petrel/worker/service/catalog"
)

// DefaultDomain is the cluster's domain unless configured, DefaultResolvConf the host's own resolv.conf.
const (
	DefaultDomain     = "cluster.local"
	DefaultResolvConf = "/etc/resolv.conf"
)

// Config says what is answered, where, and who is asked for the rest. Fields that are empty get the defaults named here.
type Config struct {
	// Client is where Services and EndpointSlices come from.
	Client kubernetes.Interface
	// Catalog is where they come from, when somebody else runs one; nil for one of the server's own.
	Catalog  *catalog.Catalog
	NodeName string
	// ClusterDomain is DefaultDomain, without dots at its ends.
	ClusterDomain string
	// Listen is where to serve; empty: at the addresses of the Service kube-system/kube-dns, port 53.
	Listen []netip.AddrPort
	// Upstreams are asked for all other names; empty: those that ResolvConf names, as long as it names them.
	Upstreams []netip.AddrPort
	// ResolvConf is DefaultResolvConf.
	ResolvConf string
	// PodCIDRs are the networks whose addresses have pod records; empty: every address has.
	PodCIDRs []netip.Prefix
	// StateFile is where the table is kept.
	StateFile string
	// Recorder, when set, is told of addresses that cannot be listened on.
	Recorder record.EventRecorder
	// Registerer, when set, gets the metrics.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

func (c *Config) setDefaults() {
	c.ClusterDomain = strings.ToLower(cmp.Or(c.ClusterDomain, DefaultDomain))
	c.ResolvConf = cmp.Or(c.ResolvConf, DefaultResolvConf)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	if c.Client == nil {
		return errors.New("dns needs a client")
	}
	if problems := validation.IsDNS1123Subdomain(c.ClusterDomain); len(problems) > 0 || len(c.ClusterDomain) > maxDomain {
		return fmt.Errorf("cluster domain %q: %s", c.ClusterDomain, strings.Join(append(problems, "at most 120 characters, so that names below it fit"), "; "))
	}
	if !filepath.IsAbs(c.StateFile) || !filepath.IsAbs(c.ResolvConf) {
		return fmt.Errorf("state file %q and resolv.conf %q: want absolute paths", c.StateFile, c.ResolvConf)
	}
	for _, list := range [][]netip.AddrPort{c.Listen, c.Upstreams} {
		for _, a := range list {
			if !a.IsValid() {
				return fmt.Errorf("address %q: want an address and a port", a)
			}
		}
	}
	return nil
}

// maxDomain leaves room below the domain for port, protocol, Service and namespace.
const maxDomain = 120

// zoneName is the domain as DNS writes it.
func (c *Config) zoneName() string { return dns.Fqdn(c.ClusterDomain) }
