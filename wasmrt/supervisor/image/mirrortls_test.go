package image

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// signer makes certificates in PEM, each with its key behind it.
type signer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	life time.Duration // 0: an hour
}

func (s *signer) make(name string, ca bool) []byte {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(s.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: ca, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(cmp.Or(s.life, time.Hour)), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	parent, by := s.cert, s.key
	if ca {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	fatal(s.t, err)
	if ca {
		s.key = key
		s.cert, err = x509.ParseCertificate(der)
		fatal(s.t, err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	fatal(s.t, err)
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMirrorsAreAskedWithACertificate(t *testing.T) {
	ca := &signer{t: t}
	authority := ca.make("ca", true)
	serving := ca.make("server", false)
	cert, err := tls.X509KeyPair(serving, serving)
	fatal(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed with what is the mirror's: %v", r.TLS.PeerCertificates)
	}))
	defer elsewhere.Close()
	elsewhere.Config.ErrorLog = nil
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()

	dir := t.TempDir()
	files := &MirrorTLS{CA: filepath.Join(dir, "ca.crt"), Credential: filepath.Join(dir, "client.pem")}
	mirrors := Mirrors{}
	fatal(t, mirrors.Add("registry.test="+server.URL))
	transport := newByHost(mirrors, files)
	defer transport.closeIdle()
	get := func(path string) (string, error) {
		resp, err := (&http.Client{Transport: transport}).Get(server.URL + path)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	if _, err := get("/"); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("without files: %v", err)
	}
	fatal(t, os.WriteFile(files.CA, authority, 0o600))
	fatal(t, os.WriteFile(files.Credential, ca.make("node-1", false), 0o600))
	if got, err := get("/"); err != nil || got != "node-1" {
		t.Fatalf("got %q, %v", got, err)
	}
	fatal(t, os.WriteFile(files.Credential, ca.make("node-2", false), 0o600))
	transport.closeIdle()
	if got, err := get("/"); err != nil || got != "node-2" {
		t.Fatalf("a renewed certificate is not used: %q, %v", got, err)
	}
	if _, err := get("/away"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("the mirror's authority vouches for others: %v", err)
	}
	other := (&signer{t: t}).make("other", true)
	for content, want := range map[string]string{"nothing": "no certificate", string(other): "unknown authority"} {
		fatal(t, os.WriteFile(files.CA, []byte(content), 0o600))
		transport.closeIdle()
		if _, err := get("/"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	fatal(t, os.WriteFile(files.CA, authority, 0o600))
	fatal(t, os.WriteFile(files.Credential, append([]byte("x"), other[:len(other)/2]...), 0o600))
	transport.closeIdle()
	if _, err := get("/"); err == nil || !strings.Contains(err.Error(), "no certificate with its key") {
		t.Error(err)
	}
	fatal(t, os.WriteFile(files.Credential, make([]byte, maxCredentialFile+1), 0o600))
	if _, err := get("/"); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

// TestConnectionsEndWithTheirCertificate keeps asking over the end of a certificate that is renewed beneath.
func TestConnectionsEndWithTheirCertificate(t *testing.T) {
	ca := &signer{t: t}
	authority := ca.make("ca", true)
	serving := ca.make("server", false)
	cert, err := tls.X509KeyPair(serving, serving)
	fatal(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if time.Now().After(r.TLS.PeerCertificates[0].NotAfter) {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.StartTLS()
	defer server.Close()
	dir := t.TempDir()
	files := &MirrorTLS{CA: filepath.Join(dir, "ca.crt"), Credential: filepath.Join(dir, "client.pem")}
	fatal(t, os.WriteFile(files.CA, authority, 0o600))
	ca.life = 5 * time.Second
	ends := time.Now().Add(ca.life)
	fatal(t, os.WriteFile(files.Credential, ca.make("node", false), 0o600))
	mirrors := Mirrors{}
	fatal(t, mirrors.Add("registry.test="+server.URL))
	transport := newByHost(mirrors, files)
	defer transport.closeIdle()
	ca.life = 0
	renewal := ca.make("node", false)
	client := &http.Client{Transport: transport}
	for ; time.Now().Before(ends.Add(time.Second)); time.Sleep(50 * time.Millisecond) {
		resp, err := client.Get(server.URL)
		if err != nil { // the connection was closed in its midst: who asks again is served
			resp, err = client.Get(server.URL)
		}
		fatal(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s before the first certificate's end: %s", time.Until(ends), resp.Status)
		}
		if renewal != nil {
			fatal(t, os.WriteFile(files.Credential, renewal, 0o600))
			renewal = nil
		}
	}
}
