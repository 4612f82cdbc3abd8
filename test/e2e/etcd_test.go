package e2e

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// startEtcd runs an etcd server of this test's own on loopback and answers its client URL.
func startEtcd(t *testing.T) string {
	t.Helper()
	config := embed.NewConfig()
	config.Dir = t.TempDir()
	config.LogLevel, config.LogOutputs = "fatal", []string{"stderr"} // as errors it logs that its listeners were closed
	client, peer := freeURL(t), freeURL(t)
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatalf("start etcd: %v", err)
	}
	t.Cleanup(func() {
		server.Close()
		<-server.Server.StopNotify()
	})
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(patience):
		t.Fatal("etcd was not ready in time")
	}
	return client.String()
}

func freeURL(t *testing.T) url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return url.URL{Scheme: "http", Host: l.Addr().String()}
}

// TestExternalEtcd keeps the state in an etcd server that Petrel does not run: what is deployed is there, and a new
// petrel with an empty folder finds it.
func TestExternalEtcd(t *testing.T) {
	t.Parallel()
	endpoint := startEtcd(t)
	c := ownCluster(t, "--etcd-endpoints", endpoint)
	w := worldIn(t, c)
	w.apply(web)
	w.rollout("web")
	w.becomes(w.appURL("web"), 200, "probe one")

	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	res, err := client.Get(t.Context(), "/registry/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, kv := range res.Kvs {
		keys = append(keys, string(kv.Key))
	}
	contains(t, strings.Join(keys, "\n"), fmt.Sprintf("deployments/%s/web", w.ns), fmt.Sprintf("namespaces/%s", w.ns))

	w.kill(c.State.PID)
	w.restart()
	w.rollout("web")
	w.becomes(w.appURL("web"), 200, "probe one")
	revision := w.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.resourceVersion}")
	if revision == "" || revision == "0" {
		t.Errorf("resourceVersion is %q", revision)
	}
}
