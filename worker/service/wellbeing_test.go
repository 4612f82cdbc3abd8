package service

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
)

// answerOf asks until somebody answers with the status.
func answerOf(t *testing.T, url string, status int) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	var body string
	eventually(t, url, func() bool {
		answer, err := client.Get(url)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		content, err := io.ReadAll(answer.Body)
		body = string(content)
		return err == nil && answer.StatusCode == status
	})
	return body
}

func TestHealthOfProxyAndServices(t *testing.T) {
	healthz, check := vip(t), vip(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{corev1.LabelTopologyZone: "zone-a"}}}
	svc := testService("a", loadBalancer, externalLocal, func(s *corev1.Service) { s.Spec.HealthCheckNodePort = int32(check.Port()) })
	far := endpointOf("127.42.1.1", 'r')
	far.NodeName = ptr.To("node-2")
	cfg := pathConfig(&fakePath{}, EBPF)
	cfg.Client = fake.NewClientset(node, svc, testSlice("a", "1", 80, far))
	cfg.HealthzListen, cfg.HealthAddrs = healthz.String(), []netip.Addr{check.Addr()}
	server := run(t, cfg)
	at := "http://" + healthz.String()
	if body := answerOf(t, at+"/healthz", http.StatusOK); !strings.Contains(body, `"nodeEligible":true`) {
		t.Errorf("healthz = %s", body)
	}
	answerOf(t, "http://"+check.String(), http.StatusServiceUnavailable)
	slices := cfg.Client.DiscoveryV1().EndpointSlices("default")
	if _, err := slices.Create(t.Context(), testSlice("a", "2", 80, endpointOf("127.42.0.1", 'r')), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if body := answerOf(t, "http://"+check.String(), http.StatusOK); !strings.Contains(body, `"localEndpoints": 1`) {
		t.Errorf("health check = %s", body)
	}
	taint(t, cfg.Client, node)
	answerOf(t, at+"/healthz", http.StatusServiceUnavailable)
	answerOf(t, at+"/livez", http.StatusOK)
	if server.state.place.Zone != "zone-a" {
		t.Errorf("the node's zone is %q", server.state.place.Zone)
	}
}

func taint(t *testing.T, client kubernetes.Interface, node *corev1.Node) {
	t.Helper()
	doomed := node.DeepCopy()
	doomed.Spec.Taints = []corev1.Taint{{Key: toBeDeleted}}
	if _, err := client.CoreV1().Nodes().Update(t.Context(), doomed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestIsEligible(t *testing.T) {
	for want, node := range map[bool]*corev1.Node{
		true:  {Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "node.kubernetes.io/not-ready"}}}},
		false: {ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{}}},
	} {
		if isEligible(node) != want {
			t.Errorf("%v: want %v", node, want)
		}
	}
}

// slowPath is a data path that is behind.
type slowPath struct{ fakePath }

func (*slowPath) Progress() (time.Time, time.Time) { return time.Unix(1, 0), time.Unix(2, 0) }

func TestTheKernelsProgressCounts(t *testing.T) {
	server, err := New(pathConfig(&slowPath{}, EBPF))
	if err != nil {
		t.Fatal(err)
	}
	if !server.health.Healthy() {
		t.Error("not well before it serves")
	}
	if _, err := server.choosePath(context.Background()); err != nil {
		t.Fatal(err)
	}
	if server.health.Healthy() {
		t.Error("well though the kernel is behind")
	}
}
