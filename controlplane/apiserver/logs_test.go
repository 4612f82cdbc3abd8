package apiserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// nodeWith registers a node whose log server is h.
func nodeWith(t *testing.T, name string, h http.HandlerFunc) {
	t.Helper()
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	addr := netip.MustParseAddrPort(web.Listener.Addr().String())
	nodes := client(t, contentProtobuf).CoreV1().Nodes()
	n, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nodes.Delete(context.Background(), name, metav1.DeleteOptions{}) })
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addr.Addr().String()}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(addr.Port())
	if _, err = nodes.UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func podOn(t *testing.T, ns, name, node string, containers ...string) {
	t.Helper()
	p := newPod(name)
	p.Spec.Containers = nil
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c, Image: "i"})
	}
	pods := client(t, contentProtobuf).CoreV1().Pods(ns)
	if _, err := pods.Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if node == "" {
		return
	}
	b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Name: node}}
	if err := pods.Bind(t.Context(), b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestLogsComeAsTheyAreWritten(t *testing.T) {
	ns := space(t)
	more := make(chan struct{})
	nodeWith(t, "log-node", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.URL.Path, r.URL.RawQuery)
		w.(http.Flusher).Flush()
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
		fmt.Fprintln(w, "second")
	})
	podOn(t, ns, "p", "log-node", "c")
	s, err := client(t, contentProtobuf).CoreV1().Pods(ns).GetLogs("p", &corev1.PodLogOptions{
		Follow: true, TailLines: ptr.To[int64](5), Timestamps: true, SinceSeconds: ptr.To[int64](9), LimitBytes: ptr.To[int64](100)}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lines := bufio.NewReader(s)
	first, err := lines.ReadString('\n')
	if want := "/containerLogs/" + ns + "/p/c follow=true&limitBytes=100&sinceSeconds=9&tailLines=5&timestamps=true\n"; err != nil || first != want {
		t.Fatalf("got %q, %v", first, err)
	}
	close(more)
	if rest, err := io.ReadAll(lines); err != nil || string(rest) != "second\n" {
		t.Fatalf("got %q, %v", rest, err)
	}
}

func TestLogsThatCannotBeHad(t *testing.T) {
	ns := space(t)
	nodeWith(t, "grumpy", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/gone"):
			http.Error(w, "container gone is not here", http.StatusNotFound)
		case strings.HasSuffix(r.URL.Path, "/bad"):
			http.Error(w, "previous container not found", http.StatusBadRequest)
		default:
			http.Error(w, "out of luck", http.StatusInternalServerError)
		}
	})
	podOn(t, ns, "unbound", "", "c")
	podOn(t, ns, "p", "grumpy", "gone", "bad", "waits", "broken")
	podOn(t, ns, "lost", "no-such-node", "c")
	pods := client(t, contentProtobuf).CoreV1().Pods(ns)
	p, err := pods.Get(t.Context(), "p", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "waits", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
	p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "debugger", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerError"}}}}
	if _, err := pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if p, err = pods.Get(t.Context(), "p", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger", Image: "i"}}}
	if _, err := pods.UpdateEphemeralContainers(t.Context(), "p", p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		query string
		code  int
		text  string
	}{
		{"missing/log", 404, `pods "missing" not found`},
		{"unbound/log", 400, "waiting to start: the pod is not assigned"},
		{"p/log", 400, "choose one of: [gone bad waits broken debugger]"},
		{"p/log?container=x", 400, "container x is not valid for pod p"},
		{"p/log?container=gone", 404, "container gone is not here"},
		{"p/log?container=bad&previous=true", 400, "previous container not found"},
		{"p/log?container=waits", 400, "waiting to start: ImagePullBackOff"},
		{"p/log?container=debugger", 400, "waiting to start: CreateContainerError"},
		{"p/log?container=broken", 500, "out of luck"},
		{"p/log?container=bad&tailLines=-1", 422, "tailLines"},
		{"p/log?container=bad&tailLines=x", 400, "tailLines"},
		{"p/log?container=bad&stream=stdout", 422, "stream"},
		{"p/log?container=bad&stream=Stdout&tailLines=1", 422, "tailLines"},
		{"p/log?container=bad&sinceTime=yesterday", 422, "sinceTime"},
		{"p/log?container=bad&sinceTime=2026-01-01T00:00:00Z&sinceSeconds=1", 422, "at most one"},
		{"lost/log", 404, `nodes "no-such-node" not found`},
	}
	for _, tt := range tests {
		resp, body := request(t, "GET", "/api/v1/namespaces/"+ns+"/pods/"+tt.query, "")
		if s := statusIn(t, body); resp.StatusCode != tt.code || !strings.Contains(s.Message, tt.text) {
			t.Errorf("%s: %s %s", tt.query, resp.Status, s.Message)
		}
	}
	if _, err := logOptions(url.Values{"sinceTime": {"2026-01-01T00:00:00Z"}}); err != nil {
		t.Error(err)
	}
	if _, err := nodeAddress(&corev1.Node{}); err == nil {
		t.Error("a node without an address has one")
	}
}

func TestLogsOfANodeThatIsDown(t *testing.T) {
	ns := space(t)
	web := httptest.NewServer(http.NotFoundHandler())
	down := netip.MustParseAddrPort(web.Listener.Addr().String())
	web.Close()
	nodes := client(t, contentProtobuf).CoreV1().Nodes()
	n, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "down"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nodes.Delete(context.Background(), "down", metav1.DeleteOptions{}) })
	podOn(t, ns, "p", "down", "c")
	resp, body := request(t, "GET", "/api/v1/namespaces/"+ns+"/pods/p/log", "")
	if s := statusIn(t, body); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(s.Message, "has not said") {
		t.Errorf("%s %s", resp.Status, s.Message)
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: down.Addr().String()}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(down.Port())
	if _, err = nodes.UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	resp, body = request(t, "GET", "/api/v1/namespaces/"+ns+"/pods/p/log", "")
	if s := statusIn(t, body); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(s.Message, "does not answer") {
		t.Errorf("%s %s", resp.Status, s.Message)
	}
}
