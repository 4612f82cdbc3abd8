package proxy

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/lab/machine"
)

const (
	nodeName = "node-1"
	apiAt    = "127.0.0.1:8080"
	nodePort = 30080
	checks   = 31080
)

// TestInPlaceOfKubeProxy serves one node of a cluster: an API server of its own, two endpoints, clients on the node and
// on another machine.
func TestInPlaceOfKubeProxy(t *testing.T) {
	network, err := machine.NewSwitch(1)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	node, outside := boot(t, network, 1), boot(t, network, 2)
	client := node.api(apiAt, "--service-cidr", "10.96.0.0/16", "--cluster-cidr", "10.42.0.0/16", "--advertise-address", node.addr.String())
	register(t, client)
	svc := addService(t, client)
	vip := netip.AddrPortFrom(netip.MustParseAddr(svc.Spec.ClusterIP), 80)
	atNode := netip.AddrPortFrom(node.addr, nodePort)
	a, b := node.serve("a", 8001), node.serve("b", 8002)
	proxy := startProxy(node)

	node.refuses(vip)
	setEndpoints(t, client, a, b)
	node.answers(vip, "a", "b")
	node.answers(atNode, "a", "b")
	for _, line := range outside.answers(atNode, "a", "b") {
		if !strings.HasSuffix(line, " "+outside.addr.String()) { // externalTrafficPolicy Local
			t.Errorf("the endpoint saw %q, want the client's address %v", line, outside.addr)
		}
	}
	wantTold(t, node, svc)

	// What is in the kernel serves on, and the next start goes on with it.
	proxy.kill()
	node.answers(vip, "a", "b")
	outside.answers(atNode, "a", "b")
	proxy = startProxy(node)
	setEndpoints(t, client, b)
	node.answers(vip, "b")
	outside.answers(atNode, "b")
	proxy.stop()
	node.answers(vip, "b")
	node.start("cleanup", petrel, nil, "proxy", "--cleanup").wait()
	if lines := node.ask(1, vip); !strings.HasPrefix(lines[0], "error") {
		t.Errorf("after --cleanup, %v answers %q", vip, lines)
	}
}

func (p *process) wait() {
	p.t.Helper()
	<-p.done
	if !p.cmd.ProcessState.Success() {
		p.t.Errorf("%s: %v", p.name, p.cmd.ProcessState)
	}
}

// startProxy runs `petrel proxy` with a kubeconfig, and nothing else to go by.
func startProxy(node *host) *process {
	node.t.Helper()
	config := filepath.Join(node.dir, "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
"clusters":[{"name":"c","cluster":{"server":"http://%s"}}],"users":[{"name":"u","user":{}}]}`, apiAt)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		node.t.Fatal(err)
	}
	p := node.start("proxy", petrel, nil, "proxy", "--kubeconfig", config, "--hostname-override", nodeName, "--proxy-mode", "ebpf")
	eventually(node.t, "the proxy's health", func() bool { status, _ := node.get("http://127.0.0.1:10256/healthz"); return status == 200 })
	return p
}

// wantTold looks at health and metrics.
func wantTold(t *testing.T, node *host, svc *corev1.Service) {
	t.Helper()
	if _, mode := node.get("http://127.0.0.1:10249/proxyMode"); mode != "ebpf" {
		t.Errorf("the mode is %q", mode)
	}
	_, metrics := node.get("http://127.0.0.1:10249/metrics")
	for _, want := range []string{
		`petrel_proxy_mode{mode="ebpf"} 1`, "petrel_proxy_sync_seconds_count", "petrel_proxy_sync_failures_total 0",
		fmt.Sprintf(`petrel_proxy_service_connections_total{namespace="default",port="http",service=%q}`, svc.Name),
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s:\n%s", want, metrics)
		}
	}
	status, body := node.get(fmt.Sprintf("http://127.0.0.1:%d/", checks))
	if status != 200 || !strings.Contains(body, `"localEndpoints": 2`) {
		t.Errorf("the health check node port says %d %s", status, body)
	}
}

// register makes the Node that the proxy runs on.
func register(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// addService makes a Service whose endpoints are the test's to say.
func addService(t *testing.T, client kubernetes.Interface) *corev1.Service {
	t.Helper()
	var made *corev1.Service
	eventually(t, "the service", func() bool { // the namespace is made in a moment
		var err error
		made, err = client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, HealthCheckNodePort: checks,
				Ports: []corev1.ServicePort{{Name: "http", Port: 80, NodePort: nodePort}},
			},
		}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			t.Fatal(err)
		}
		return err == nil
	})
	return made
}

// setEndpoints says what the Service's endpoints are: each has a slice, for each has a port of its own.
func setEndpoints(t *testing.T, client kubernetes.Interface, all ...netip.AddrPort) {
	t.Helper()
	api := client.DiscoveryV1().EndpointSlices("default")
	ours := metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"}
	if err := api.DeleteCollection(t.Context(), metav1.DeleteOptions{}, ours); err != nil {
		t.Fatal(err)
	}
	for _, at := range all {
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{GenerateName: "web-", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(int32(at.Port()))}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{at.Addr().String()}, NodeName: ptr.To(nodeName)}},
		}
		if _, err := api.Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
