package supervisor

import (
	"fmt"
	"strings"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/egress"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// Annotations by which the client of the CRI names a domain whose names may lead to networks of the host's own: a cluster
// whose pods and services have loopback addresses.
const (
	annotationDomain   = annotationPrefix + "cluster-domain"
	annotationNetworks = annotationPrefix + "cluster-networks"
)

// sandboxDNS is how the sandbox's guests look names up; nil where the client did not say: as the host does.
func sandboxDNS(pod *runtimev1.PodSandboxConfig) (*control.DNS, error) {
	config := pod.GetDnsConfig()
	if len(config.GetServers()) == 0 {
		return nil, nil
	}
	d := &control.DNS{Servers: config.GetServers(), Searches: config.GetSearches(), Options: config.GetOptions()}
	dns, err := egress.ParseDNS(d.Servers, d.Searches, d.Options)
	if err != nil {
		return nil, err
	}
	if domain := pod.GetAnnotations()[annotationDomain]; domain != "" {
		d.Domain = domain
		for network := range strings.SplitSeq(pod.GetAnnotations()[annotationNetworks], ",") {
			if network = strings.TrimSpace(network); network != "" {
				d.Networks = append(d.Networks, network)
			}
		}
		if _, err := dns.Trusting(d.Domain, d.Networks); err != nil {
			return nil, fmt.Errorf("annotations %s and %s: %w", annotationDomain, annotationNetworks, err)
		}
	}
	return d, nil
}
