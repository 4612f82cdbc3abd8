package worker

import (
	"crypto/tls"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/petrelrun/petrel/controlplane/pki"
)

// TestNodeServerOverTLS asks a node's server with the certificates that a cluster has, and without one.
func TestNodeServerOverTLS(t *testing.T) {
	authority := func(name string) *pki.Authority {
		a, err := pki.Open(t.Context(), pki.Dir(t.TempDir()), name, "test", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	cluster, nodes, stranger := authority(pki.ClusterCA), authority(pki.NodesCA), authority(pki.ClusterCA)
	renewing := func(a *pki.Authority, r pki.Request) *pki.Renewing {
		r.Life = time.Hour
		c, err := pki.NewRenewing(a, r, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	config := renewing(nodes, pki.Request{CommonName: "system:node:n", DNSNames: []string{"n"}, Usage: pki.Serving}).Server()
	config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, cluster.Pool()
	node := &nodeServer{m: &manager{cfg: &Config{NodeTLS: config}}, node: "n", log: slog.New(slog.DiscardHandler)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, path := range []string{"/healthz", "/pods"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "served") })
	}
	server := &httptest.Server{Listener: secured(listener, config), Config: &http.Server{Handler: node.guard(mux), ErrorLog: log.New(io.Discard, "", 0)}}
	server.Start()
	defer server.Close()
	client := func(a *pki.Authority, groups ...string) *pki.Renewing {
		return renewing(a, pki.Request{CommonName: "x", Organization: groups, Usage: pki.Client})
	}
	for _, tt := range []struct {
		name   string
		as     *pki.Renewing
		path   string
		origin string
		code   int // 0: the handshake fails
	}{
		{"the API", client(cluster, "petrel:apiservers"), "/pods", "", 200},
		{"an administrator", client(cluster, "system:masters"), "/pods", "", 200},
		{"an administrator's browser", client(cluster, "system:masters"), "/pods", "https://evil.example", 403},
		{"another node", client(cluster, "system:nodes"), "/pods", "", 403},
		{"nobody", nil, "/pods", "", 401},
		{"nobody, for its health", nil, "/healthz", "", 200},
		{"a stranger", client(stranger, "system:masters"), "/pods", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := &tls.Config{RootCAs: nodes.Pool()}
			if tt.as != nil {
				config = tt.as.Client(nodes.Pool())
			}
			config.ServerName = "n"
			transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+listener.Addr().String()+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Origin", tt.origin)
			if tt.origin == "" {
				req.Header.Del("Origin")
			}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				if tt.code != 0 {
					t.Fatal(err)
				}
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.code {
				t.Fatal(resp.Status)
			}
		})
	}
}

func TestWhereTheNodeServerListens(t *testing.T) {
	far := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	for _, tt := range []struct {
		config Config
		want   string
		wrong  string
	}{
		{config: Config{}, want: "127.0.0.1:0"},
		{config: Config{NodeTLS: &tls.Config{}}, want: "127.0.0.1:0"},
		{config: Config{NodeIPs: far}, want: "127.0.0.1:0"},
		{config: Config{NodeIPs: far, NodeTLS: &tls.Config{}}, want: "10.0.0.1:10250"},
		{config: Config{NodeListen: "10.0.0.1:1"}, want: "10.0.0.1:1", wrong: "without TLS"},
		{config: Config{NodeListen: ":1"}, want: ":1", wrong: "without TLS"},
		{config: Config{NodeListen: "localhost:1"}, want: "localhost:1"},
	} {
		c := tt.config
		c.Client, c.RootDir = fake.NewClientset(), t.TempDir()
		c.setDefaults()
		err := c.Validate()
		if c.NodeListen != tt.want || (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%+v: listens at %s: %v", tt.config.NodeIPs, c.NodeListen, err)
		}
	}
}
