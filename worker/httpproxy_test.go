package worker

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPodProxy(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("web", "web", func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080}} }))
	n.ready("web")
	for _, tt := range []struct {
		path, uri string
		code      int
		want      string
	}{
		{"default/web/http/8080", "/any?x=y", 200, "hello"},
		{"default/web/http/8081", "/", 502, "does not answer at port 8081"},
		{"default/web/https/8080", "/", 502, "does not answer"},
		{"default/web/ftp/8080", "/", 400, "http or https"},
		{"default/web/http/0", "/", 400, "1 to 65535"},
		{"default/web/http/8080", "http://192.0.2.1/", 400, "want a path"},
		{"default/web/http/8080", "", 400, "want a path"},
		{"default/none/http/8080", "/", 404, "not on this node"},
	} {
		at := n.nodeURL("/podProxy/" + tt.path)
		at.RawQuery = url.Values{"uri": {tt.uri}}.Encode()
		if code, body := n.http(at.String()); code != tt.code || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %s", tt.path, tt.uri, code, body)
		}
	}
}

func FuzzPodTarget(f *testing.F) {
	for _, uri := range []string{"/", "//x/y?z", "http://x/", "/%2e%2e/x", "*", "", "/a b", "/\x00"} {
		f.Add("http", "80", uri)
	}
	f.Fuzz(func(t *testing.T, scheme, port, uri string) {
		r := httptest.NewRequest(http.MethodGet, "/x?"+url.Values{"uri": {uri}}.Encode(), http.NoBody)
		r.SetPathValue("scheme", scheme)
		r.SetPathValue("port", port)
		target, err := podTarget(r, "127.42.0.1")
		if err != nil {
			return
		}
		if target.Hostname() != "127.42.0.1" || target.Scheme != "http" && target.Scheme != "https" {
			t.Errorf("%q leads to %s", uri, target)
		}
		if _, err := http.NewRequest(http.MethodGet, target.String(), io.Reader(nil)); err != nil {
			t.Errorf("%q: %v", uri, err)
		}
	})
}
