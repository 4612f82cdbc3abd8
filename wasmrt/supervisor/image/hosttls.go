package image

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"time"
)

// hostFiles are what TLS with one host needs.
type hostFiles struct {
	ca         []string    // certificates beside the system's
	client     [][2]string // certificate and key
	skipVerify bool
}

func (f *hostFiles) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.skipVerify}
	if len(f.ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		for _, path := range f.ca {
			data, err := readCredentialFile(path)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrConfig, err)
			}
			if !pool.AppendCertsFromPEM(data) {
				return nil, fmt.Errorf("%w: %s has no certificate", ErrConfig, path)
			}
		}
		c.RootCAs = pool
	}
	for _, pair := range f.client {
		cert, err := readCredentialFile(pair[0])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		key, err := readCredentialFile(pair[1])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		both, err := tls.X509KeyPair(cert, key)
		if err != nil {
			// The cause may quote the files, one of which holds a key.
			return nil, fmt.Errorf("%w: %s and %s are no certificate with its key", ErrConfig, pair[0], pair[1])
		}
		c.Certificates = append(c.Certificates, both)
	}
	return c, nil
}

// transportTo is the way to a host, and what to do when it is not needed any more: hosts with settings of their own get
// a transport for each pull, so that a renewed file is used.
func (p *Puller) transportTo(h *host) (http.RoundTripper, func(), error) {
	if h.own || h.files == nil && h.dialTimeout == 0 {
		return p.transport, func() {}, nil
	}
	t := newTransport()
	if h.dialTimeout > 0 {
		t.DialContext = (&net.Dialer{Timeout: h.dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	if h.files != nil {
		config, err := h.files.config()
		if err != nil {
			return nil, nil, err
		}
		t.TLSClientConfig = config
	}
	// What is the host's is not for those it redirects to.
	return &onlyFor{host: h.base.Host, of: t, other: p.transport}, t.CloseIdleConnections, nil
}

// onlyFor sends requests to a host one way, and all others another.
type onlyFor struct {
	host      string
	of, other http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (o *onlyFor) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == o.host {
		return o.of.RoundTrip(r)
	}
	return o.other.RoundTrip(r)
}
