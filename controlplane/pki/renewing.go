package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"
)

// Renewing is a certificate that is made when it is first needed and again before it ends. Its key stays in memory.
type Renewing struct {
	authority *Authority
	request   Request
	now       func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
}

// NewRenewing makes one; it issues nothing yet.
func NewRenewing(a *Authority, r Request, now func() time.Time) (*Renewing, error) {
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("prepare certificate: %w", err)
	}
	return &Renewing{authority: a, request: r, now: now}, nil
}

// Get answers the certificate. It is replaced once two thirds of its life are over, so that one which cannot be
// renewed at once still serves for the rest.
func (r *Renewing) Get() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if r.current != nil && now.Before(RenewAt(r.current.Leaf)) {
		return r.current, nil
	}
	issued, err := r.authority.Issue(r.request, now)
	if err != nil {
		if r.current != nil && now.Before(r.current.Leaf.NotAfter) {
			return r.current, nil
		}
		return nil, err
	}
	r.current = r.authority.tls(issued)
	return r.current, nil
}

// Server serves TLS with the certificate, whoever asks for what name: an address has none.
func (r *Renewing) Server() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return r.Get() },
	}
}

// Client shows the certificate to servers that roots vouch for.
func (r *Renewing) Client(roots *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return r.Get() },
	}
}

// RenewAt is when a certificate of this package's is due: after two thirds of its life, which begins clockSlack later
// than the certificate says.
func RenewAt(cert *x509.Certificate) time.Time {
	return cert.NotAfter.Add(-cert.NotAfter.Sub(cert.NotBefore.Add(clockSlack)) / 3)
}
