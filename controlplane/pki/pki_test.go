package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string) *Authority {
	t.Helper()
	a, err := Open(context.Background(), Dir(dir), ClusterCA, "petrel", noon)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAuthorityIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	var all [8]*Authority
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() { all[i], _ = Open(context.Background(), Dir(dir), ClusterCA, "petrel", noon) })
	}
	group.Wait()
	for _, a := range append(all[:], open(t, dir)) {
		if a == nil || a.Hash() != all[0].Hash() || !bytes.Equal(a.PEM(), all[0].PEM()) {
			t.Fatal("two processes have two authorities")
		}
	}
	for name, want := range map[string]fs.FileMode{"ca.key": 0o600, "ca.crt": 0o644, ".": 0o700} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %04o, want %04o", name, got, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("left behind: %v, %v", entries, err)
	}
	other := open(t, t.TempDir())
	if other.Hash() == all[0].Hash() {
		t.Fatal("two clusters have one authority")
	}
}

func TestAuthoritySurvivesAHalfWrittenPair(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir)
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	if b := open(t, dir); b.Hash() != a.Hash() {
		t.Fatal("another authority")
	}
	if _, err := os.Stat(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
}

func TestAuthorityIsRefused(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, dir string)
		now   time.Time
		want  string
	}{
		{"open key", func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, "ca.key"), 0o640)) }, noon, "chmod 600"},
		{"another's key", func(t *testing.T, dir string) {
			other := t.TempDir()
			open(t, other)
			must(t, os.Rename(filepath.Join(other, "ca.key"), filepath.Join(dir, "ca.key")))
		}, noon, "not the certificate's"},
		{"no PEM", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("hello"), 0o644))
		}, noon, "PEM"},
		{"no key at all", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "ca.key"), []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600))
		}, noon, "neither PKCS"},
		{"huge", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "ca.crt"), make([]byte, maxFile+1), 0o644))
		}, noon, "bytes"},
		{"a leaf", func(t *testing.T, dir string) {
			leaf, err := open(t, t.TempDir()).Issue(Request{CommonName: "x", Usage: Client, Life: time.Hour}, noon)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, "ca.crt"), leaf.Certificate, 0o644))
			must(t, os.WriteFile(filepath.Join(dir, "ca.key"), leaf.Key, 0o600))
		}, noon, "no authority's"},
		{"ended", func(*testing.T, string) {}, noon.Add(11 * 365 * 24 * time.Hour), "ended on"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir)
			key, err := os.ReadFile(filepath.Join(dir, "ca.key"))
			must(t, err)
			tt.spoil(t, dir)
			_, err = Open(context.Background(), Dir(dir), ClusterCA, "petrel", tt.now)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if secret := strings.Split(string(key), "\n")[1]; strings.Contains(err.Error(), secret) {
				t.Fatal("the key is in the error")
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestIssuedCertificates(t *testing.T) {
	a := open(t, t.TempDir())
	server, err := a.Issue(Request{
		CommonName: "petrel", DNSNames: []string{"localhost"}, Addresses: []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")},
		Usage: Serving, Life: time.Hour,
	}, noon)
	must(t, err)
	verify := func(usage x509.ExtKeyUsage, name string, at time.Time) error {
		_, err := server.leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: name, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}})
		return err
	}
	for _, name := range []string{"localhost", "127.0.0.1"} {
		must(t, verify(x509.ExtKeyUsageServerAuth, name, noon))
	}
	if verify(x509.ExtKeyUsageClientAuth, "", noon) == nil {
		t.Error("a server's certificate lets one pose as a client")
	}
	if verify(x509.ExtKeyUsageServerAuth, "example.com", noon) == nil {
		t.Error("any name will do")
	}
	must(t, verify(x509.ExtKeyUsageServerAuth, "localhost", noon.Add(-4*time.Minute)))
	if verify(x509.ExtKeyUsageServerAuth, "localhost", noon.Add(61*time.Minute)) == nil {
		t.Error("a certificate outlives its life")
	}
	long, err := a.Issue(Request{CommonName: "x", Usage: Client, Life: 20 * authorityLife}, noon)
	must(t, err)
	if long.leaf.NotAfter.After(a.NotAfter()) {
		t.Error("a certificate outlives its authority")
	}
	for _, bad := range []Request{{}, {CommonName: "x"}, {CommonName: "x", Usage: Client}, {CommonName: "x", Usage: Serving, Life: 1}, {CommonName: "x", Usage: 9, Life: 1}} {
		if _, err := a.Issue(bad, noon); err == nil {
			t.Errorf("%+v was issued", bad)
		}
	}
}

func TestRenewingRenewsBeforeTheEnd(t *testing.T) {
	a := open(t, t.TempDir())
	now := noon
	r, err := NewRenewing(a, Request{CommonName: "x", Usage: Client, Life: 3 * time.Hour}, func() time.Time { return now })
	must(t, err)
	serial := func() string {
		c, err := r.Get()
		must(t, err)
		if now.After(c.Leaf.NotAfter) {
			t.Fatal("it has ended")
		}
		if len(c.Certificate) != 2 || !bytes.Equal(c.Certificate[1], a.cert.Raw) {
			t.Fatal("the authority is not shown")
		}
		return c.Leaf.SerialNumber.String()
	}
	first := serial()
	now = noon.Add(119 * time.Minute)
	if serial() != first {
		t.Fatal("renewed too early")
	}
	now = noon.Add(121 * time.Minute)
	if serial() == first {
		t.Fatal("not renewed")
	}
	// An authority that has ended cannot renew; what lasts still serves, and then there is an error.
	last, err := NewRenewing(a, Request{CommonName: "x", Usage: Client, Life: time.Hour}, func() time.Time { return now })
	must(t, err)
	now = a.NotAfter().Add(-30 * time.Minute)
	if _, err := last.Get(); err != nil {
		t.Fatal(err)
	}
	if _, err := NewRenewing(a, Request{}, time.Now); err == nil {
		t.Fatal("an empty request is taken")
	}
}

func TestKeeperTellsWhatFailed(t *testing.T) {
	broken := errors.New("no entropy")
	if _, err := Dir(t.TempDir()).Keep(context.Background(), "x", func() (Pair, error) { return Pair{}, broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if _, err := Dir("/proc/nowhere").Keep(context.Background(), "x", nil); err == nil {
		t.Fatal("a directory that cannot be")
	}
}

func TestTLSConfigs(t *testing.T) {
	a := open(t, t.TempDir())
	r, err := NewRenewing(a, Request{CommonName: "x", DNSNames: []string{"x"}, Usage: Serving, Life: time.Hour}, func() time.Time { return noon })
	must(t, err)
	for _, c := range []*tls.Config{r.Server(), r.Client(a.Pool())} {
		if c.MinVersion < tls.VersionTLS12 {
			t.Fatal("old TLS")
		}
	}
	if c, err := r.Server().GetCertificate(&tls.ClientHelloInfo{ServerName: "anything"}); err != nil || c.Leaf.Subject.CommonName != "x" {
		t.Fatal(c, err)
	}
	if c, err := r.Client(a.Pool()).GetClientCertificate(nil); err != nil || c.Leaf.Subject.CommonName != "x" {
		t.Fatal(c, err)
	}
}
