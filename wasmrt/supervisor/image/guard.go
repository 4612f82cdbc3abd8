package image

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

const (
	// maxRedirects of one request. Registries send blobs from elsewhere by one or two.
	maxRedirects = 5
	// maxOther bounds answers that are neither manifests nor blobs: tokens and errors.
	maxOther = 1 << 20
)

// errNoTLS says that a request would have gone out in the open.
var errNoTLS = errors.New("it leads from TLS to plain HTTP, which is never followed")

// guard is what all requests of a pull from one host go through.
type guard struct {
	host *host
	// probe is asked in place of the API's root, where a path in front of it means that there may be no root.
	probe string
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	ours := r.URL.Host == g.host.base.Host
	switch {
	case g.host.base.Scheme == "http" && ours && r.URL.Scheme == "https":
		return nil, errors.New("the host is configured for plain HTTP") // and is not asked for TLS first
	case g.host.base.Scheme == "https" && r.URL.Scheme != "https":
		return nil, fmt.Errorf("ask %s: %w", r.URL.Redacted(), errNoTLS)
	}
	if ours && r.URL.Path == apiPath+"/" && g.host.base.Path != apiPath {
		r = r.Clone(r.Context())
		r.Method, r.URL.Path, r.URL.RawQuery = http.MethodHead, g.probe, ""
	}
	if ours && len(g.host.header) > 0 {
		r = r.Clone(r.Context())
		for name, values := range g.host.header {
			if r.Header.Get(name) == "" {
				r.Header[name] = values
			}
		}
	}
	return limited{g.next}.RoundTrip(r)
}

// redirect is the rule for redirects of manifests and blobs.
func redirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("%w: more than %d redirects", ErrUnavailable, maxRedirects)
	}
	if ip, err := netip.ParseAddr(strings.Trim(r.URL.Hostname(), "[]")); err == nil && ip.IsLinkLocalUnicast() {
		return fmt.Errorf("%w: a redirect to the link-local address %s is not followed", ErrUnavailable, ip) // where clouds keep a machine's secrets
	}
	return nil
}
