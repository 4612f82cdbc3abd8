package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// certificate finds the user of the client certificate with which the connection was opened. Verifying costs as much
// as a small request, so the outcome stays with the connection; its end is looked at each time.
func (c *Credentials) certificate(r *http.Request) (*User, error) {
	kept, _ := r.Context().Value(connectionKey{}).(*atomic.Pointer[verified])
	if kept != nil {
		if v := kept.Load(); v != nil && v.leaf.Equal(r.TLS.PeerCertificates[0]) && c.now().Before(v.until) {
			return v.user, nil
		}
	}
	v, err := c.verify(r.TLS.PeerCertificates)
	if err != nil {
		return nil, err
	}
	if kept != nil {
		kept.Store(v)
	}
	return v.user, nil
}

// verified is who a certificate is, and until when that is so.
type verified struct {
	leaf  *x509.Certificate
	user  *User
	until time.Time
}

type connectionKey struct{}

// Connection prepares the context of a connection (http.Server.ConnContext) to keep who its certificate is.
func Connection(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, new(atomic.Pointer[verified]))
}

func (c *Credentials) verify(shown []*x509.Certificate) (*verified, error) {
	leaf, now := shown[0], c.now()
	options := x509.VerifyOptions{
		Roots: c.Clients, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, cert := range shown[1:] {
		options.Intermediates.AddCert(cert)
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		return nil, unauthorized(whyNot(leaf, now, err))
	}
	if leaf.Subject.CommonName == "" {
		return nil, unauthorized("the client certificate names nobody: its subject has no common name")
	}
	v := &verified{
		leaf:  leaf,
		user:  authenticated(leaf.Subject.CommonName, "", leaf.Subject.Organization),
		until: leaf.NotAfter,
	}
	for _, cert := range chains[0] {
		if cert.NotAfter.Before(v.until) {
			v.until = cert.NotAfter
		}
	}
	return v, nil
}

// whyNot names the cause and what to do.
func whyNot(leaf *x509.Certificate, now time.Time, err error) string {
	var invalid x509.CertificateInvalidError
	switch stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }; {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && now.Before(leaf.NotBefore):
		return fmt.Sprintf("the client certificate of %q begins at %s, and here it is %s: set the clock of one machine or the other",
			leaf.Subject.CommonName, stamp(leaf.NotBefore), stamp(now))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the client certificate of %q ended at %s (here it is %s): get another; a node joins again with a new token",
			leaf.Subject.CommonName, stamp(leaf.NotAfter), stamp(now))
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return fmt.Sprintf("the certificate of %q is not one for clients", leaf.Subject.CommonName)
	}
	return fmt.Sprintf("the client certificate of %q is not of this cluster's authority: it may be of another cluster, or of one that was here before", leaf.Subject.CommonName)
}
