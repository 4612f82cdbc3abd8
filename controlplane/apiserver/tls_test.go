package apiserver

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/pki"
	"github.com/petrelrun/petrel/controlplane/resource"
)

func authority(t *testing.T) *pki.Authority {
	t.Helper()
	a, err := pki.Open(t.Context(), pki.Dir(t.TempDir()), pki.ClusterCA, "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func certificate(t *testing.T, a *pki.Authority, r pki.Request) *pki.Renewing {
	t.Helper()
	r.Life = time.Hour
	c, err := pki.NewRenewing(a, r, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var serving = pki.Request{CommonName: "petrel", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Usage: pki.Serving}

// secure runs an API that speaks TLS.
func secure(t *testing.T, a *pki.Authority) (base string) {
	t.Helper()
	r, err := resource.New(resource.Config{Store: storeOf(t), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{
		Registry: r, Listen: "127.0.0.1:0", TLS: certificate(t, a, serving).Server(), Logger: quiet,
		Authenticator: &auth.Credentials{Clients: a.Pool()}, Authorizer: &auth.Members{NodeReads: func(_ context.Context, node, resource, namespace, name string) bool {
			return node+"/"+resource+"/"+namespace+"/"+name == "n/configmaps/default/mine"
		}},
		Mounts: map[string]http.Handler{"/v1/": http.HandlerFunc(mounted)},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	addr, err := s.Addr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return "https://" + addr.String()
}

// over makes a client with or without a certificate.
func over(t *testing.T, a *pki.Authority, subject *pki.Request) *http.Client {
	config := &tls.Config{RootCAs: a.Pool()}
	if subject != nil {
		config = certificate(t, a, *subject).Client(a.Pool())
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestTLS(t *testing.T) {
	ours, theirs := authority(t), authority(t)
	base := secure(t, ours)
	admin := over(t, ours, &pki.Request{CommonName: "admin", Organization: []string{auth.GroupMasters}, Usage: pki.Client})
	node := over(t, ours, &pki.Request{CommonName: "system:node:n", Organization: []string{auth.GroupNodes}, Usage: pki.Client})
	tests := []struct {
		name   string
		client *http.Client
		path   string
		code   int
		says   string
	}{
		{"nobody", over(t, ours, nil), "/api/v1/pods", 401, "shows no credential"},
		{"nobody, at a path that is not", over(t, ours, nil), "/nothing", 401, "shows no credential"},
		{"nobody, at what is mounted", over(t, ours, nil), "/v1/apps", 401, "shows no credential"},
		{"nobody, health", over(t, ours, nil), "/livez", 200, "ok"},
		{"nobody, version", over(t, ours, nil), "/version", 200, "gitVersion"},
		{"admin", admin, "/api/v1/namespaces/default", 200, "default"},
		{"admin, at what is mounted", admin, "/v1/apps", 200, "mounted"},
		{"a member without roles", over(t, ours, &pki.Request{CommonName: "jane", Usage: pki.Client}), "/api/v1/pods", 403, `User \"jane\" cannot list resource \"pods\"`},
		{"a node", node, "/api/v1/services", 200, "ServiceList"},
		{"a node, one config map of its pods", node, "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Dmine", 200, "ConfigMapList"},
		{"a node, and of more fields", node, "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.namespace%3Ddefault,metadata.name%3Dmine", 200, "ConfigMapList"},
		{"a node, another config map", node, "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Dtheirs", 403, "cannot list"},
		{"a node, all but one config map", node, "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%21%3Dmine", 403, "cannot list"},
		{"a node, in all namespaces", node, "/api/v1/configmaps?fieldSelector=metadata.name%3Dmine", 403, "cannot list"},
		{"a node, two selectors", node, "/api/v1/namespaces/default/configmaps?fieldSelector=x%3Dy&fieldSelector=metadata.name%3Dmine", 403, "cannot list"},
		{"a node, watching others", node, "/api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%3Dtheirs", 403, "cannot watch"},
		{"a node, a selector that is none", node, "/api/v1/namespaces/default/configmaps?fieldSelector=%3D%3D", 403, "cannot list"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, err := tt.client.Get(base + tt.path)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.code || !strings.Contains(string(body), tt.says) {
				t.Fatalf("%s: %s", resp.Status, body)
			}
			if resp.ProtoMajor != 2 {
				t.Errorf("spoke %s", resp.Proto)
			}
			var status metav1.Status
			if tt.code >= 400 && (json.Unmarshal(body, &status) != nil || status.Kind != "Status" || int(status.Code) != tt.code) {
				t.Errorf("no Status: %s", body)
			}
			if tt.code == 401 && status.Reason != metav1.StatusReasonUnauthorized {
				t.Errorf("reason %s", status.Reason)
			}
		})
	}
	// A certificate of another authority: the handshake is done, and the answer says what is wrong.
	stranger := certificate(t, theirs, pki.Request{CommonName: "admin", Organization: []string{auth.GroupMasters}, Usage: pki.Client})
	transport := &http.Transport{TLSClientConfig: stranger.Client(ours.Pool())}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get(base + "/api/v1/pods")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if !resp.Close {
		t.Error("a connection with a certificate that is not taken stays open")
	}
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 401 || !strings.Contains(string(body), "not of this cluster's authority") {
		t.Errorf("%s: %s", resp.Status, body)
	}
	if resp, err := http.Get("http" + strings.TrimPrefix(base, "https") + "/livez"); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("in the clear: %s", resp.Status)
		}
	}
}

func TestTLSConfigIsChecked(t *testing.T) {
	a := authority(t)
	for name, c := range map[string]Config{
		"beyond loopback in the clear": {Registry: registry, Listen: "0.0.0.0:0"},
		"nobody asks who it is":        {Registry: registry, Listen: "0.0.0.0:0", TLS: certificate(t, a, serving).Server()},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestNodesAreKnownByName asks a node over TLS: its certificate has to carry the node's name, whatever the address.
func TestNodesAreKnownByName(t *testing.T) {
	nodes, cluster := authority(t), authority(t)
	us := certificate(t, cluster, pki.Request{CommonName: "api", Organization: []string{auth.GroupAPIServers}, Usage: pki.Client})
	config := us.Client(nodes.Pool())
	s := &Server{cfg: Config{NodeTLS: config}}
	transport := newNodeTransport(config)
	defer transport.CloseIdleConnections()
	for _, tt := range []struct {
		name string
		by   *pki.Authority
		want string
	}{
		{"n1", nodes, ""},
		{"n2", nodes, "valid for n2, not n1"},
		{"n1", cluster, "unknown authority"},
	} {
		shown := ""
		node := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { shown = r.TLS.PeerCertificates[0].Subject.CommonName }))
		node.TLS = certificate(t, tt.by, pki.Request{CommonName: "system:node:" + tt.name, DNSNames: []string{tt.name}, Usage: pki.Serving}).Server()
		node.TLS.ClientAuth, node.TLS.ClientCAs = tls.RequireAndVerifyClientCert, cluster.Pool()
		node.Config.ErrorLog = nil
		node.StartTLS()
		req, err := s.nodeRequest(t.Context(), "n1", url.URL{Host: node.Listener.Addr().String(), Path: "/containerLogs/a/b/c"})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		if tt.want == "" && (err != nil || shown != "api") {
			t.Errorf("%s: %v, as %q", tt.name, err, shown)
		}
		if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s of the wrong kind: %v", tt.name, err)
		}
		transport.CloseIdleConnections()
		node.Close()
	}
}
