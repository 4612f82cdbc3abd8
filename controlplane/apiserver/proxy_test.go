package apiserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNodeProxy(t *testing.T) {
	more := make(chan struct{})
	nodeWith(t, "proxied", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stream/of/it":
			w.Header().Set("Content-Type", "application/x-ndjson")
			fmt.Fprintln(w, r.URL.RawQuery, r.Header.Get("Accept"), r.Header.Get("Authorization"))
			w.(http.Flusher).Flush()
			select {
			case <-more:
			case <-r.Context().Done():
				return
			}
			fmt.Fprintln(w, "second")
		case "/":
			fmt.Fprintln(w, "root")
		default:
			http.Error(w, "no "+r.URL.Path, http.StatusTeapot)
		}
	})
	resp, err := client(t, contentJSON).CoreV1().RESTClient().Get().Resource("nodes").Name("proxied").SubResource("proxy").Suffix("stream/of/it").
		Param("a", "b").SetHeader("Accept", "text/x").SetHeader("Authorization", "Bearer x").Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Close()
	lines := bufio.NewReader(resp)
	if first, err := lines.ReadString('\n'); err != nil || first != "a=b text/x \n" {
		t.Fatalf("got %q, %v", first, err)
	}
	close(more)
	if rest, err := io.ReadAll(lines); err != nil || string(rest) != "second\n" {
		t.Fatalf("got %q, %v", rest, err)
	}
	nodes := client(t, contentJSON).CoreV1().Nodes()
	if _, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "silent"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nodes.Delete(context.Background(), "silent", metav1.DeleteOptions{}) })
	for _, c := range []struct {
		path string
		code int
		text string
	}{
		{"proxied/proxy", 200, "root"}, {"proxied/proxy/", 200, "root"}, {"proxied/proxy/nowhere", 418, "no /nowhere"},
		{"proxied/proxy//nowhere", 418, "no /nowhere"}, {"silent/proxy/metrics", 503, "has not said yet"}, {"absent/proxy/metrics", 404, `absent\" not found`},
	} {
		resp, body := request(t, "GET", "/api/v1/nodes/"+c.path, "")
		if resp.StatusCode != c.code || !strings.Contains(body, c.text) {
			t.Errorf("%s: %s %s", c.path, resp.Status, body)
		}
	}
	if resp, _ := request(t, "POST", "/api/v1/nodes/proxied/proxy/x", "{}"); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", resp.Status)
	}
}
