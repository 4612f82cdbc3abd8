package apiserver

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestPodProxy asks pods and services through the API, with a node that tells what it was asked.
func TestPodProxy(t *testing.T) {
	ns := space(t)
	nodeWith(t, "proxy-node", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s uri=%s auth=%q origin=%q body=%s", r.Method, r.URL.Path, r.URL.Query().Get("uri"), r.Header.Get("Authorization"), r.Header.Get("Origin"), body)
	})
	podOn(t, ns, "p", "proxy-node", "c")
	podOn(t, ns, "unbound", "", "c")
	c := client(t, contentProtobuf)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "web", Port: 80}, {Name: "other", Port: 81}}}}
	if _, err := c.CoreV1().Services(ns).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "s-1", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}}, AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("web"), Port: ptr.To[int32](8081)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"127.42.0.9"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "gone"}},
			{Addresses: []string{"127.42.0.8"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "p"}},
		},
	}
	if _, err := c.DiscoveryV1().EndpointSlices(ns).Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	at := "/podProxy/" + ns + "/p/"
	for _, tt := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "pods/p:8080/proxy/a/b?c=d&e=f%20g", "", 418, "GET " + at + `http/8080 uri=/a/b?c=d&e=f%20g auth="" origin="" body=`},
		{"POST", "pods/p:8080/proxy/a//b%2Fc", "sent", 418, "POST " + at + `http/8080 uri=/a//b%2Fc auth="" origin="" body=sent`},
		{"DELETE", "pods/https:p:443/proxy", "", 418, "DELETE " + at + `https/443 uri=/ auth`},
		{"PATCH", "pods/p/proxy/", "", 418, "PATCH " + at + `http/80 uri=/ auth`},
		{"GET", "services/s:web/proxy/x", "", 418, "GET " + at + `http/8081 uri=/x auth`},
		{"PUT", "services/https:s:80/proxy/x", "y", 418, "PUT " + at + `https/8081 uri=/x auth="" origin="" body=y`},
		{"GET", "services/s/proxy/", "", 400, "name one"},
		{"GET", "services/s:nothing/proxy/", "", 400, `no port \"nothing\"`},
		{"GET", "services/s:other/proxy/", "", 503, "no pod is ready"},
		{"GET", "services/none:web/proxy/", "", 404, "not found"},
		{"GET", "pods/none:80/proxy/", "", 404, "not found"},
		{"GET", "pods/p:web/proxy/", "", 400, `no port \"web\"`},
		{"GET", "pods/p:70000/proxy/", "", 400, "no port"},
		{"GET", "pods/ftp:p:80/proxy/", "", 400, "scheme"},
		{"GET", "pods/a:b:c:d/proxy/", "", 400, "want NAME"},
		{"GET", "pods/unbound:80/proxy/", "", 503, "not assigned"},
	} {
		resp, body := request(t, tt.method, "/api/v1/namespaces/"+ns+"/"+tt.path, tt.body, "Authorization: Bearer secret", "Origin: "+base)
		if resp.StatusCode != tt.code || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %s %s", tt.method, tt.path, resp.Status, body)
		}
		if csp := resp.Header.Get("Content-Security-Policy"); tt.code == 418 && (!strings.HasPrefix(csp, "sandbox") || strings.Contains(csp, "allow-same-origin")) {
			t.Errorf("%s: a pod's page has the API's origin: %q", tt.path, csp)
		}
	}
}

func FuzzParseProxied(f *testing.F) {
	for _, name := range []string{"p", "p:80", "https:p:web", ":p:", "::", "ftp:p:1", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p, err := parseProxied(name)
		if err == nil && (p.name == "" || p.scheme != "http" && p.scheme != "https" || strings.Contains(p.name+p.port, ":")) {
			t.Errorf("%q is read as %+v", name, p)
		}
	})
}
