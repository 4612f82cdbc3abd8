package apiserver

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

// One store and one server for all tests of the package; each test has its own namespace.
var (
	registry *resource.Registry
	server   *Server
	base     string
	kept     *store.Store
	quiet    = slog.New(slog.NewTextHandler(io.Discard, nil))
)

func TestMain(m *testing.M) {
	code := run(m)
	if err := goleak.Find(goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1")); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "petrel-apiserver-")
	check(err)
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(context.Background())
	s, err := store.New(store.Config{Dir: dir, Resources: resource.Stored(), Logger: quiet})
	check(err)
	check(s.Start(ctx))
	kept = s
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
		_ = s.Close()
	}()
	registry, err = resource.New(resource.Config{Store: s, Logger: quiet})
	check(err)
	check(registry.Bootstrap(ctx, netip.MustParseAddrPort("127.0.0.1:8080")))
	server, err = New(Config{Registry: registry, Logger: quiet, Mounts: map[string]http.Handler{"/v1/": http.HandlerFunc(mounted)}})
	check(err)
	server.ready.Store(true)
	web := httptest.NewServer(server.Handler())
	defer web.Close()
	defer server.stopStreams()
	base = web.URL
	return m.Run()
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func mounted(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "mounted ", r.URL.Path) }

// client is a client-go client as programs use it, protobuf and all.
func client(t *testing.T, contentType string) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(&rest.Config{Host: base, QPS: -1, UserAgent: "tester/1.0",
		ContentConfig: rest.ContentConfig{ContentType: contentType, AcceptContentTypes: contentType}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func space(t *testing.T) string {
	t.Helper()
	ns, err := client(t, contentProtobuf).CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// request sends one request; headers are "Name: value".
func request(t *testing.T, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(out)
}

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
}

func newConfigMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": "v"}}
}

// storeOf is the store that all tests share.
func storeOf(t *testing.T) store.Interface {
	t.Helper()
	return kept
}
