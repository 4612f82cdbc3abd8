package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/controlplane/auth/jointoken"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// authority signs certificates for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(24 * time.Hour)}
	a.cert = a.sign(template)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(template *x509.Certificate) *x509.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer, a.key = template, key, key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func (a *authority) leaf(name string, usage x509.ExtKeyUsage, from, to time.Time, groups ...string) *x509.Certificate {
	return a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name, Organization: groups}, NotBefore: from, NotAfter: to,
		ExtKeyUsage: []x509.ExtKeyUsage{usage}})
}

var stored = map[string]BootstrapToken{
	"aaaaaa": {Bootstrap: jointoken.Bootstrap{ID: "aaaaaa", Secret: "0123456789abcdef"}, Authenticates: true, Expires: noon.Add(time.Hour),
		Groups: []string{"system:bootstrappers:east", "system:masters"}},
	"bbbbbb": {Bootstrap: jointoken.Bootstrap{ID: "bbbbbb", Secret: "0123456789abcdef"}, Authenticates: true, Expires: noon},
	"cccccc": {Bootstrap: jointoken.Bootstrap{ID: "cccccc", Secret: "0123456789abcdef"}},
}

func lookup(_ context.Context, id string) (BootstrapToken, bool, error) {
	if id == "dddddd" {
		return BootstrapToken{}, false, errors.New("the store is away")
	}
	t, ok := stored[id]
	return t, ok, nil
}

func TestCredentials(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	client, server := x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	hour := time.Hour
	good := ours.leaf("jane", client, noon.Add(-hour), noon.Add(hour), "system:masters", "system:unauthenticated")
	tests := []struct {
		name    string
		cert    *x509.Certificate
		header  string
		origin  string
		path    string
		method  string
		user    string
		groups  string
		refused string
	}{
		{name: "certificate", cert: good, user: "jane", groups: "system:masters system:authenticated"},
		{name: "certificate of others", cert: theirs.leaf("jane", client, noon.Add(-hour), noon.Add(hour)), refused: "not of this cluster's authority"},
		{name: "certificate that ended", cert: ours.leaf("n", client, noon.Add(-hour), noon.Add(-time.Second)), refused: "ended at"},
		{name: "certificate of tomorrow", cert: ours.leaf("n", client, noon.Add(hour), noon.Add(2*hour)), refused: "set the clock"},
		{name: "a server's certificate", cert: ours.leaf("n", server, noon.Add(-hour), noon.Add(hour)), refused: "not one for clients"},
		{name: "nobody's certificate", cert: ours.leaf("", client, noon.Add(-hour), noon.Add(hour), "system:masters"), refused: "names nobody"},
		{name: "a browser with a certificate", cert: good, origin: "https://evil.example", refused: "another origin"},
		{name: "the API's own page", cert: good, origin: "https://petrel:6443", user: "jane", groups: "system:masters system:authenticated"},
		{name: "a page without TLS", cert: good, origin: "http://petrel:6443", refused: "another origin"},
		{name: "bootstrap token", header: "Bearer aaaaaa.0123456789abcdef", user: "system:bootstrap:aaaaaa", groups: "system:bootstrappers system:bootstrappers:east system:authenticated"},
		{name: "bootstrap token, wrong secret", header: "Bearer aaaaaa.1123456789abcdef", refused: "aaaaaa is not known"},
		{name: "bootstrap token, expired", header: "Bearer bbbbbb.0123456789abcdef", refused: "expired at 2026-03-01T12:00:00Z"},
		{name: "bootstrap token, not for this", header: "Bearer cccccc.0123456789abcdef", refused: "cccccc is not known"},
		{name: "bootstrap token, deleted", header: "Bearer eeeeee.0123456789abcdef", refused: "eeeeee is not known"},
		{name: "bootstrap token, no store", header: "Bearer dddddd.0123456789abcdef", refused: "the store is away"},
		{name: "unknown token", header: "Bearer whatever-it-is", refused: "not known"},
		{name: "long token", header: "Bearer " + strings.Repeat("x", maxBearer+1), refused: "longer"},
		{name: "password", header: "Basic YTpi", refused: "Authorization header"},
		{name: "empty token", header: "Bearer ", refused: "Authorization header"},
		{name: "bad certificate, good token", cert: theirs.leaf("x", client, noon.Add(-hour), noon.Add(hour)), header: "Bearer aaaaaa.0123456789abcdef", user: "system:bootstrap:aaaaaa",
			groups: "system:bootstrappers system:bootstrappers:east system:authenticated"},
		{name: "nothing", refused: "shows no credential"},
		{name: "nothing, to a module", path: "/v2/", refused: "shows no credential"},
		{name: "health", path: "/readyz/store", user: AnonymousName, groups: GroupUnauthenticated},
		{name: "version", path: "/version", user: AnonymousName, groups: GroupUnauthenticated},
		{name: "health, written", path: "/readyz", method: http.MethodPost, refused: "shows no credential"},
		{name: "health, bad token", path: "/readyz", header: "Bearer whatever-it-is", refused: "not known"},
		{name: "health's neighbour", path: "/readyzz", refused: "shows no credential"},
	}
	c := &Credentials{Clients: ours.pool, Now: func() time.Time { return noon },
		Tokens: []Tokens{&BootstrapTokens{Lookup: lookup, Now: func() time.Time { return noon }}}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.path
			if path == "" {
				path = "/api/v1/pods"
			}
			r := httptest.NewRequest(tt.method, "https://petrel:6443"+path, nil)
			if tt.cert != nil {
				r.TLS.PeerCertificates = []*x509.Certificate{tt.cert}
			}
			if tt.header != "" {
				r.Header.Set("Authorization", tt.header)
			}
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			u, err := c.Authenticate(r)
			if tt.refused == "" {
				if err != nil || u.Name != tt.user || strings.Join(u.Groups, " ") != tt.groups {
					t.Fatalf("got %+v, %v", u, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.refused) {
				t.Fatalf("got %+v, %v; want a refusal over %q", u, err, tt.refused)
			}
			if strings.Contains(err.Error(), "123456789abcdef") || strings.Contains(err.Error(), "whatever") {
				t.Fatalf("the refusal tells the secret: %v", err)
			}
			if tt.origin == "" && tt.name != "bootstrap token, no store" && !IsUnauthorized(err) {
				t.Fatalf("%v is no 401", err)
			}
		})
	}
	plain := httptest.NewRequest(http.MethodGet, "http://petrel/readyz", nil)
	if _, err := c.Authenticate(plain); !IsUnauthorized(err) {
		t.Fatalf("without TLS: %v", err)
	}
}

// TestConnectionKeepsItsUser holds the shortcut to the certificate's end and to the certificate.
func TestConnectionKeepsItsUser(t *testing.T) {
	ours := newAuthority(t)
	now := noon
	c := &Credentials{Clients: ours.pool, Now: func() time.Time { return now }}
	ctx := Connection(context.Background(), nil)
	ask := func(cert *x509.Certificate) (*User, error) {
		r := httptest.NewRequest(http.MethodGet, "https://petrel/api", nil).WithContext(ctx)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
		return c.Authenticate(r)
	}
	jane := ours.leaf("jane", x509.ExtKeyUsageClientAuth, noon.Add(-time.Hour), noon.Add(time.Hour))
	first, err := ask(jane)
	if err != nil {
		t.Fatal(err)
	}
	c.Clients = x509.NewCertPool() // whoever verifies again now fails
	if again, err := ask(jane); err != nil || again != first {
		t.Fatalf("verified again: %v, %v", again, err)
	}
	if u, err := ask(ours.leaf("joe", x509.ExtKeyUsageClientAuth, noon.Add(-time.Hour), noon.Add(time.Hour))); err == nil {
		t.Fatalf("another certificate is taken for %s", u.Name)
	}
	now = noon.Add(time.Hour)
	if u, err := ask(jane); err == nil {
		t.Fatalf("%s goes on after the end", u.Name)
	}
}

func TestGroupsAreNotRepeated(t *testing.T) {
	u := authenticated("x", "u", []string{"a", "a", GroupAuthenticated, GroupUnauthenticated})
	if !slices.Equal(u.Groups, []string{"a", GroupAuthenticated}) || u.UID != "u" {
		t.Fatalf("%+v", u)
	}
}
