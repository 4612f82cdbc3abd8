package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// BenchmarkCertificate compares a connection's first request, whose certificate is verified, with those that follow.
func BenchmarkCertificate(b *testing.B) {
	ours := newAuthority(b)
	c := &Credentials{Clients: ours.pool, Now: func() time.Time { return noon }}
	r := httptest.NewRequest(http.MethodGet, "https://petrel/api", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{
		ours.leaf("jane", x509.ExtKeyUsageClientAuth, noon.Add(-time.Hour), noon.Add(time.Hour), GroupMasters)}}
	for name, ctx := range map[string]context.Context{"verified": context.Background(), "kept": Connection(context.Background(), nil)} {
		b.Run(name, func(b *testing.B) {
			r := r.WithContext(ctx)
			for b.Loop() {
				if _, err := c.Authenticate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
