package service

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/petrelrun/petrel/worker/service/feed/feedtest"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestServerServesOnWithoutTheAPI(t *testing.T) {
	backend := httpBackend(t, "p", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "alive") })
	at := vip(t)
	svc := testService("hello", func(s *corev1.Service) {
		s.Spec.ClusterIPs = []string{at.Addr().String()}
		s.Spec.Ports[0].Port = int32(at.Port())
	})
	slice := testSlice("hello", "hello-1", int32(backend.Addr.Port()), endpointOf(backend.Addr.Addr().String(), 'r'))
	client := feedtest.CopyWatches(fake.NewClientset(svc, slice))
	var away atomic.Bool
	client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		if away.Load() {
			return true, nil, fmt.Errorf("connection refused")
		}
		return false, nil, nil
	})
	cfg := Config{
		Client: client, NodeName: "node-1", StateFile: filepath.Join(t.TempDir(), "services.json"), GatewayListen: "127.0.0.1:0",
		NodeAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Logger: discard,
	}
	for range 2 { // the second server knows the table from disk only
		server, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- server.Run(ctx) }()
		gateway, err := server.GatewayAddr(ctx)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the app URL", func() bool {
			answer, body := ask(t, gateway.String(), http.MethodGet, "hello.localhost", "/", nil)
			return answer.StatusCode == http.StatusOK && body == "alive"
		})
		eventually(t, "the cluster address", func() bool {
			answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + at.String())
			if err != nil {
				return false
			}
			answer.Body.Close()
			return answer.StatusCode == http.StatusOK
		})
		if got, ok := server.Lookup("default", "hello"); !ok || len(got.Ports[0].Backends) != 1 {
			t.Errorf("lookup = %+v, %v", got, ok)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		away.Store(true)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Client: fake.NewClientset(), StateFile: "f", GatewayListen: ":0", NodeAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Logger: discard}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no client": func(c *Config) { c.Client = nil }, "no logger": func(c *Config) { c.Logger = nil }, "no kernel": func(c *Config) { c.Mode = EBPF },
		"no node": func(c *Config) { c.NodeAddrs = []netip.Addr{{}} }, "bad gateway": func(c *Config) { c.GatewayListen = "8081" },
	} {
		bad := good
		spoil(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
