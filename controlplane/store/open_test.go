package store_test

import (
	"context"
	"log/slog"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/petrelrun/petrel/controlplane/store"
	"github.com/petrelrun/petrel/controlplane/store/storetest"
)

// start opens a store that ends with the test.
func start(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if cfg.Resources == nil {
		cfg.Resources = storetest.Resources()
	}
	s, err := store.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// subject is what the suite runs on, over whatever etcd the configuration means.
func subject(t testing.TB, cfg store.Config) *storetest.Subject {
	t.Helper()
	s := start(t, cfg)
	return &storetest.Subject{
		Store: s,
		Compact: func(t testing.TB, revision int64) {
			if err := s.Compact(t.Context(), revision); err != nil {
				t.Fatal(err)
			}
		},
		Reopen: func(t testing.TB) store.Interface {
			stop(t, s)
			s = start(t, cfg)
			return s
		},
	}
}

// etcdServer is an etcd of its own, reached over a loopback port as any external one.
type etcdServer struct {
	dir  string
	addr string // host:port
	etcd *embed.Etcd
}

func startEtcd(t testing.TB) *etcdServer {
	t.Helper()
	s := &etcdServer{dir: t.TempDir(), addr: "127.0.0.1:0"}
	s.start(t)
	t.Cleanup(s.stop)
	return s
}

func (s *etcdServer) start(t testing.TB) {
	t.Helper()
	c := embed.NewConfig()
	c.Dir = filepath.Join(s.dir, "etcd")
	c.ListenPeerUrls = nil // a cluster of one
	c.ListenClientUrls = []url.URL{{Scheme: "http", Host: s.addr}}
	c.AdvertiseClientUrls = c.ListenClientUrls
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = 25, 125
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	var err error
	// A port that was just given up may take a moment to be free.
	for range 1000 {
		if s.etcd, err = embed.StartEtcd(c); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.etcd.Server.ReadyNotify():
	case <-time.After(30 * time.Second):
		t.Fatal("etcd does not get ready")
	}
	s.addr = s.etcd.Clients[0].Addr().String()
}

func (s *etcdServer) stop() {
	if s.etcd != nil {
		s.etcd.Close()
		s.etcd = nil
	}
}

// client reaches the server as another program would.
func (s *etcdServer) client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.addr}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
