package image

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
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
	// refused is why the host could not be asked over TLS, after which the client library asks in the open.
	refused atomic.Pointer[error]
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	ours := r.URL.Host == g.host.base.Host
	switch {
	case g.host.base.Scheme == "http" && ours && r.URL.Scheme == "https":
		return nil, errors.New("the host is configured for plain HTTP") // and is not asked for TLS first
	case g.host.base.Scheme == "https" && r.URL.Scheme != "https" && ours && g.refused.Load() != nil:
		return nil, *g.refused.Load()
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
	resp, err := limited{g.next}.RoundTrip(r)
	switch {
	case err != nil && ours:
		g.refused.Store(&err)
	case ours:
		g.refused.Store(nil)
	}
	return resp, err
}

// cause is the error of a handshake, without the one of the attempt in the open.
func (g *guard) cause(err error) error {
	refused := g.refused.Load()
	if refused == nil {
		return err
	}
	var header tls.RecordHeaderError
	if errors.As(*refused, &header) && string(header.RecordHeader[:]) == "HTTP/" {
		return http.ErrSchemeMismatch
	}
	return *refused
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
