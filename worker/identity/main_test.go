package identity

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/apiserver"
	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/auth/jointoken"
	"github.com/petrelrun/petrel/controlplane/join"
	"github.com/petrelrun/petrel/controlplane/pki"
	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// plane is a control plane that nodes can join: the real API server, approver and signer over an etcd of its own.
type plane struct {
	url      string
	cluster  *pki.Authority
	registry *resource.Registry
}

// start starts a control plane whose certificates for nodes last life.
func start(t *testing.T, life time.Duration) *plane {
	t.Helper()
	s, err := store.New(store.Config{Dir: t.TempDir(), Resources: resource.Stored(), Logger: quiet})
	ok(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ok(t, s.Start(ctx))
	registry, err := resource.New(resource.Config{Store: s, SecureAPI: true, Admission: join.Restriction{}, Logger: quiet})
	ok(t, err)
	tls := pki.Dir(filepath.Join(t.TempDir(), "tls"))
	cluster, err := pki.Open(ctx, tls, pki.ClusterCA, "test", time.Now())
	ok(t, err)
	nodes, err := pki.Open(ctx, tls, pki.NodesCA, "test", time.Now())
	ok(t, err)
	serving, err := pki.NewRenewing(cluster, pki.Request{CommonName: "api", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Usage: pki.Serving, Life: time.Hour}, time.Now)
	ok(t, err)
	informers := resource.NewInformers(registry)
	signer, err := join.New(join.Config{Client: registry.Client("join"), Informers: informers, Cluster: cluster, Nodes: nodes, Life: life, Logger: quiet})
	ok(t, err)
	server, err := apiserver.New(apiserver.Config{
		Registry: registry, Listen: "127.0.0.1:0", TLS: serving.Server(), Logger: quiet,
		Authenticator: &auth.Credentials{Clients: cluster.Pool(), Tokens: []auth.Tokens{&auth.BootstrapTokens{Lookup: signer.BootstrapToken}}},
		Authorizer:    &auth.Members{NodeReads: signer.NodeReads},
	})
	ok(t, err)
	var group sync.WaitGroup
	for _, part := range []func(context.Context) error{s.Run, informers.Run, signer.Run, server.Run} {
		group.Go(func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
				cancel() // nobody waits for what does not come
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		group.Wait()
		ok(t, s.Close())
	})
	addr, err := server.Addr(ctx)
	ok(t, err)
	return &plane{url: "https://" + addr.String(), cluster: cluster, registry: registry}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// token makes a bootstrap token that lasts.
func (p *plane) token(t *testing.T, life time.Duration) jointoken.Bootstrap {
	t.Helper()
	b, err := jointoken.New()
	ok(t, err)
	_, err = p.registry.Client("test").Create(t.Context(), join.TokenSecret(b, time.Now().Add(life), ""))
	ok(t, err)
	return b
}

// forget deletes a token.
func (p *plane) forget(t *testing.T, b jointoken.Bootstrap) {
	t.Helper()
	ok(t, p.registry.Client("test").Delete(t.Context(), join.TokenSecret(b, time.Time{}, ""), metav1.DeleteOptions{}))
}

// machine is a machine that may join.
type machine struct {
	Config
	log bytes.Buffer
}

func (p *plane) machine(t *testing.T, name string) *machine {
	t.Helper()
	m := &machine{Config: Config{Server: p.url, NodeName: name, Dir: filepath.Join(t.TempDir(), "identity"), CAHash: p.cluster.Hash()}}
	m.Logger = slog.New(slog.NewTextHandler(&m.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return m
}

// with gives the machine a token.
func (m *machine) with(b jointoken.Bootstrap) *machine {
	m.Token = b.String()
	return m
}

func (m *machine) open(t *testing.T) (*Identity, error) {
	t.Helper()
	i, err := New(m.Config)
	if err != nil {
		return nil, err
	}
	t.Cleanup(i.Close)
	return i, i.Open(t.Context())
}

func (m *machine) mustOpen(t *testing.T) *Identity {
	t.Helper()
	i, err := m.open(t)
	ok(t, err)
	return i
}

func (m *machine) read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.Dir, name))
	ok(t, err)
	return data
}

// modes holds the files to what may be read by whom.
func (m *machine) modes(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(m.Dir)
	ok(t, err)
	var got string
	for _, e := range entries {
		info, err := e.Info()
		ok(t, err)
		if strings.HasSuffix(e.Name(), ".key") && info.Mode().Perm() == keyPerm {
			continue // a renewal that was interrupted
		}
		got += fmt.Sprintf("%s %04o ", e.Name(), info.Mode().Perm())
	}
	if got != "ca.crt 0644 client.pem 0600 serving.pem 0600 " {
		t.Fatal(got)
	}
}
