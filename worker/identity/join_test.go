package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/petrelrun/petrel/controlplane/pki"
)

func (i *Identity) kubernetes(t *testing.T) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(&rest.Config{Host: i.cfg.Server, Transport: i.Transport(), QPS: -1})
	ok(t, err)
	return c
}

// whoami is who the API takes the node for.
func (i *Identity) whoami(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	r, err := i.kubernetes(t).AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	ok(t, err)
	return r.Status.UserInfo.Username + " " + strings.Join(r.Status.UserInfo.Groups, " ")
}

func TestJoining(t *testing.T) {
	p := start(t, time.Hour)
	t.Run("once, and then without the token", func(t *testing.T) {
		token := p.token(t, time.Hour)
		m := p.machine(t, "n1").with(token)
		i := m.mustOpen(t)
		if got := i.whoami(t); got != "system:node:n1 system:nodes system:authenticated" {
			t.Fatal(got)
		}
		m.modes(t)
		client, serving := m.read(t, "client.pem"), m.read(t, "serving.pem")
		p.forget(t, token)
		for _, config := range []Config{m.Config, {Server: m.Server, NodeName: m.NodeName, Dir: m.Dir}} {
			m.Config = config
			if got := m.mustOpen(t).whoami(t); !strings.HasPrefix(got, "system:node:n1 ") {
				t.Fatal(got)
			}
		}
		if !bytes.Equal(client, m.read(t, "client.pem")) || !bytes.Equal(serving, m.read(t, "serving.pem")) {
			t.Fatal("asked again for what it had")
		}
		if log := m.log.String(); strings.Contains(log, token.Secret) || strings.Contains(log, "PRIVATE") {
			t.Fatalf("a secret is in the log:\n%s", log)
		}
	})
	t.Run("what was interrupted goes on", func(t *testing.T) {
		m := p.machine(t, "n2").with(p.token(t, time.Hour))
		ok(t, os.MkdirAll(m.Dir, 0o700))
		// Killed after the request was posted: the key is there, the certificate is not.
		i, err := New(m.Config)
		ok(t, err)
		ca, err := i.fetchAuthority(t.Context())
		ok(t, err)
		key, _, err := pendingKey(i.file(i.clientWant().pending()))
		ok(t, err)
		csr, err := i.request(i.clientWant(), key)
		ok(t, err)
		transport := newTransport(ca, nil)
		defer transport.CloseIdleConnections()
		c, err := kubernetes.NewForConfigAndClient(&rest.Config{Host: p.url}, &http.Client{Transport: &bearing{transport, m.Token}})
		ok(t, err)
		_, err = c.CertificatesV1().CertificateSigningRequests().Create(t.Context(), csr, metav1.CreateOptions{})
		ok(t, err)
		if got := m.mustOpen(t).whoami(t); !strings.HasPrefix(got, "system:node:n2 ") {
			t.Fatal(got)
		}
		m.modes(t)
	})
	t.Run("a lost serving certificate", func(t *testing.T) {
		m := p.machine(t, "n3").with(p.token(t, time.Hour))
		m.mustOpen(t)
		ok(t, os.Remove(m.Dir+"/serving.pem"))
		m.Config.Token, m.Config.CAHash = "", ""
		m.mustOpen(t)
		m.modes(t)
	})
	t.Run("another name in the same directory", func(t *testing.T) {
		m := p.machine(t, "n4").with(p.token(t, time.Hour))
		m.mustOpen(t)
		m.NodeName = "n5"
		wrong(t, m, "system:node:n4", "--node-name")
	})
	t.Run("a name that is taken", func(t *testing.T) {
		_, err := p.registry.Client("test").Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "taken"}})
		ok(t, err)
		m := p.machine(t, "taken").with(p.token(t, time.Hour))
		wrong(t, m, `already: choose another name with --node-name`, "kubectl delete node taken")
		ok(t, p.registry.Client("test").Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "taken"}}, metav1.DeleteOptions{}))
		m.mustOpen(t) // what was denied is asked anew
	})
	t.Run("without a token", func(t *testing.T) {
		m := p.machine(t, "n6")
		m.CAHash = ""
		wrong(t, m, "has not joined", "petrel token create")
	})
	t.Run("with an expired token", func(t *testing.T) {
		wrong(t, p.machine(t, "n6").with(p.token(t, -time.Second)), "expired at", "petrel token create")
	})
	t.Run("with a deleted token", func(t *testing.T) {
		token := p.token(t, time.Hour)
		p.forget(t, token)
		m := p.machine(t, "n6").with(token)
		wrong(t, m, "is not known", "petrel token create")
		if log := m.log.String(); strings.Contains(log, token.Secret) {
			t.Fatalf("a secret is in the log:\n%s", log)
		}
	})
	t.Run("with a clock that is wrong", func(t *testing.T) {
		for _, skew := range []time.Duration{-10 * time.Minute, 30 * time.Minute, 48 * time.Hour, -48 * time.Hour} {
			m := p.machine(t, "n6").with(p.token(t, time.Hour))
			m.Now = func() time.Time { return time.Now().Add(skew) }
			wrong(t, m, "this machine's clock says", "with NTP")
		}
	})
	t.Run("by a name that the server does not have", func(t *testing.T) {
		m := p.machine(t, "n6").with(p.token(t, time.Hour))
		m.Server = strings.Replace(m.Server, "127.0.0.1", "localhost", 1)
		wrong(t, m, `not for "localhost", but for 127.0.0.1`, "--tls-san localhost")
	})
	t.Run("two machines with one name", func(t *testing.T) {
		token := p.token(t, time.Hour)
		p.machine(t, "twin").with(token).mustOpen(t)
		wrong(t, p.machine(t, "twin").with(token), "another machine is joining", "kubectl delete csr node-client-")
	})
	t.Run("into another cluster", func(t *testing.T) {
		other := start(t, time.Hour)
		m := p.machine(t, "n7").with(p.token(t, time.Hour))
		m.mustOpen(t)
		m.Server, m.CAHash = other.url, other.cluster.Hash()
		wrong(t, m.with(other.token(t, time.Hour)), "is of a node of another cluster", "remove the directory")
		m.CAHash, m.Token = "", ""
		i := m.mustOpen(t) // offline it cannot know
		_, err := i.kubernetes(t).CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
		if err == nil || !strings.Contains(i.explain(err).Error(), "not of the cluster that this node joined") {
			t.Fatal(err)
		}
	})
	t.Run("its server is the API server's to ask", func(t *testing.T) { servesItsCluster(t, p) })
}

// wrong holds a failure to naming cause and mend, and to keeping the secret.
func wrong(t *testing.T, m *machine, says ...string) {
	t.Helper()
	begun := time.Now()
	_, err := m.open(t)
	if err == nil {
		t.Fatal("it joined")
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("got %v, want %q", err, s)
		}
	}
	if _, secret, _ := strings.Cut(m.Token, "."); secret != "" && strings.Contains(err.Error()+m.log.String(), secret) {
		t.Errorf("the secret is told: %v", err)
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("took %s to say so", took)
	}
}

// TestNothingSecretIsSentToStrangers joins servers that are not the token's.
func TestNothingSecretIsSentToStrangers(t *testing.T) {
	theirs, err := pki.Open(t.Context(), pki.Dir(t.TempDir()), pki.ClusterCA, "test", time.Now())
	ok(t, err)
	ours, err := pki.Open(t.Context(), pki.Dir(t.TempDir()), pki.ClusterCA, "test", time.Now())
	ok(t, err)
	serving, err := pki.NewRenewing(theirs, pki.Request{CommonName: "api", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Usage: pki.Serving, Life: time.Hour}, time.Now)
	ok(t, err)
	cert, err := serving.Get()
	ok(t, err)
	// A stranger may well show our authority, which is no secret, beside its own certificate.
	ourCA, err := pki.ParseCertificate(ours.PEM())
	ok(t, err)
	for name, tt := range map[string]struct {
		chain [][]byte
		says  string
	}{
		"another authority":        {cert.Certificate, "is not of the token's cluster"},
		"our authority beside":     {[][]byte{cert.Certificate[0], ourCA.Raw}, "has not signed the server's own certificate"},
		"only its own certificate": {cert.Certificate[:1], "is not of the token's cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
			server.Config.ErrorLog = nil
			server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: tt.chain, PrivateKey: cert.PrivateKey}}}
			server.StartTLS()
			defer server.Close()
			m := (&plane{url: server.URL, cluster: ours}).machine(t, "n")
			m.Token = "abcdef.0123456789abcdef"
			i, err := New(m.Config)
			ok(t, err)
			ok(t, os.MkdirAll(m.Dir, 0o700))
			if err = i.join(t.Context()); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v", err)
			}
			if n := requests.Load(); n != 0 {
				t.Errorf("%d requests were sent", n)
			}
		})
	}
	t.Run("in the clear", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("got %s", r.URL) }))
		defer server.Close()
		m := (&plane{url: "https" + strings.TrimPrefix(server.URL, "http"), cluster: ours}).machine(t, "n")
		m.Token = "abcdef.0123456789abcdef"
		wrong(t, m, "does not speak TLS")
	})
	t.Run("nobody", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ok(t, err)
		ok(t, l.Close())
		m := (&plane{url: "https://" + l.Addr().String(), cluster: ours}).machine(t, "n")
		m.Token = "abcdef.0123456789abcdef"
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		i, err := New(m.Config)
		ok(t, err)
		if err := i.Open(ctx); err == nil || !strings.Contains(m.log.String(), "does not answer yet") {
			t.Fatalf("%v\n%s", err, m.log.String())
		}
	})
}

// servesItsCluster asks the node's server with and without certificates.
func servesItsCluster(t *testing.T, p *plane) {
	i := p.machine(t, "server-1").with(p.token(t, time.Hour)).mustOpen(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.VerifiedChains) > 0 {
			_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
		}
	}))
	server.TLS = i.ServerTLS()
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	admin, err := p.cluster.Issue(pki.Request{CommonName: "admin", Usage: pki.Client, Life: time.Hour}, time.Now())
	ok(t, err)
	cert, err := tls.X509KeyPair(admin.Certificate, admin.Key)
	ok(t, err)
	shown := ""
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, ServerName: "server-1",
		VerifyConnection: func(cs tls.ConnectionState) error {
			shown = strings.Join(cs.PeerCertificates[0].DNSNames, " ")
			return nil
		},
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get(server.URL)
	ok(t, err)
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "admin" || shown != "server-1" {
		t.Fatalf("%q %q", body, shown)
	}
	if _, err := i.serving.Load().Leaf.Verify(x509.VerifyOptions{Roots: p.cluster.Pool()}); err == nil {
		t.Fatal("the node's certificate passes for the API's")
	}
}
