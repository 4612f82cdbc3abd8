package join

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/pki"
	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
	"github.com/petrelrun/petrel/controlplane/upstream"
)

// One store, registry and controller for all tests of the package; each test has names of its own.
var (
	registry   *resource.Registry
	controller *Controller
	clock      = &skew{}
	quiet      = slog.New(slog.NewTextHandler(io.Discard, nil))
)

// skew is a clock that tests set forward.
type skew struct {
	mu sync.Mutex
	by time.Duration
}

func (s *skew) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.by)
}

func (s *skew) set(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = by
}

func TestMain(m *testing.M) {
	code := run(m)
	if err := goleak.Find(goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1")); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "petrel-join-")
	check(err)
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(context.Background())
	s, err := store.New(store.Config{Dir: dir, Resources: resource.Stored(), Logger: quiet})
	check(err)
	check(s.Start(ctx))
	registry, err = resource.New(resource.Config{Store: s, Admission: Restriction{}, Logger: quiet})
	check(err)
	informers := resource.NewInformers(registry)
	controller, err = New(Config{
		Client: registry.Client("petrel-join"), Informers: informers, Cluster: authority(pki.ClusterCA), Nodes: authority(pki.NodesCA),
		Life: 30 * 24 * time.Hour, Now: clock.now, Logger: quiet,
	})
	check(err)
	check(registry.Bootstrap(ctx, netip.MustParseAddrPort("127.0.0.1:6443")))
	var group sync.WaitGroup
	for _, part := range []func(context.Context) error{s.Run, informers.Run, controller.Run} {
		group.Go(func() { _ = part(ctx) })
	}
	defer func() {
		cancel()
		group.Wait()
		check(s.Close())
	}()
	return m.Run()
}

func authority(name string) *pki.Authority {
	dir, err := os.MkdirTemp("", "petrel-join-ca-")
	check(err)
	defer os.RemoveAll(dir)
	a, err := pki.Open(context.Background(), pki.Dir(dir), name, "test", time.Now())
	check(err)
	return a
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// Who asks.
var (
	machine = &upstream.User{Name: "system:bootstrap:aaaaaa", Groups: []string{auth.GroupBootstrappers, auth.GroupAuthenticated}}
	person  = &upstream.User{Name: "admin", Groups: []string{auth.GroupMasters}}
)

func nodeUser(name string) *upstream.User {
	return &upstream.User{Name: auth.NodeUser(name), Groups: []string{auth.GroupNodes, auth.GroupAuthenticated}}
}

// wish is a request for a certificate.
type wish struct {
	signer  string
	cn      string
	org     []string
	dns     []string
	ips     []string
	usages  []certificatesv1.KeyUsage
	seconds int32
}

func nodeWish(node string) wish {
	return wish{signer: certificatesv1.KubeAPIServerClientKubeletSignerName, cn: auth.NodeUser(node), org: []string{auth.GroupNodes}, usages: clientUsages}
}

func servingWish(node string) wish {
	return wish{signer: certificatesv1.KubeletServingSignerName, cn: auth.NodeUser(node), org: []string{auth.GroupNodes}, dns: []string{node}, usages: servingUsages}
}

func (w wish) pem(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: w.cn, Organization: w.org}, DNSNames: w.dns}
	for _, ip := range w.ips {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func (w wish) object(t *testing.T) *certificatesv1.CertificateSigningRequest {
	csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{Request: w.pem(t), SignerName: w.signer, Usages: w.usages}}
	if w.seconds > 0 {
		csr.Spec.ExpirationSeconds = ptr.To(w.seconds)
	}
	return csr
}

func requests(t *testing.T) *resource.Definition {
	t.Helper()
	d, ok := resource.Lookup(requestsResource)
	if !ok {
		t.Fatal("requests are not served")
	}
	return d
}

// post sends a request as a user does.
func post(t *testing.T, as *upstream.User, w wish) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	out, err := registry.Create(t.Context(), requests(t), resource.Call{User: as}, w.object(t))
	if err != nil {
		t.Fatal(err)
	}
	return out.(*certificatesv1.CertificateSigningRequest)
}

// read reads a request afresh; nil: it is gone.
func read(t *testing.T, name string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	entry, err := registry.Get(t.Context(), requests(t), "", name, true)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return entry.Copy().(*certificatesv1.CertificateSigningRequest)
}

// until waits for what the controller does.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func settled(t *testing.T, name string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	var csr *certificatesv1.CertificateSigningRequest
	until(t, "a decision over "+name, func() bool {
		csr = read(t, name)
		return len(csr.Status.Certificate) > 0 || has(csr, certificatesv1.CertificateDenied) || has(csr, certificatesv1.CertificateFailed)
	})
	return csr
}
