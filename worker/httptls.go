package worker

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
)

// nodePort is where the node's server is known to be, as kubelet's is.
const nodePort = "10250"

// trusted are the groups whose certificates let ask a node: API servers, and administrators.
var trusted = []string{"petrel:apiservers", "system:masters"}

// secured puts TLS over the listener where the node has a certificate.
func secured(listener net.Listener, config *tls.Config) net.Listener {
	if config == nil {
		return listener
	}
	return tls.NewListener(listener, config)
}

// refusal is why a request may not go on; empty: it may. Over TLS a certificate of the cluster says who asks; in the
// clear, which is on loopback alone, browsers that a foreign page sent here are kept out.
func (s *nodeServer) refusal(r *http.Request) (reason string, code int) {
	switch {
	case r.Header.Get("Origin") != "":
		return "foreign host or origin", http.StatusForbidden
	case r.TLS == nil && !s.ours(r.Host):
		return "foreign host or origin", http.StatusForbidden
	case r.TLS == nil || r.URL.Path == "/healthz":
		return "", 0
	case len(r.TLS.VerifiedChains) == 0:
		return "show a client certificate of the cluster", http.StatusUnauthorized
	case !slices.ContainsFunc(r.TLS.PeerCertificates[0].Subject.Organization, func(o string) bool { return slices.Contains(trusted, o) }):
		return "this certificate may not ask nodes: API servers and administrators may", http.StatusForbidden
	}
	return "", 0
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}
