package main

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestPodsOfBothFamilies has a guest serve at an IPv4 and an IPv6 address, also after the supervisor was killed.
func TestPodsOfBothFamilies(t *testing.T) {
	free, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, "--trust-annotations") // ::1 is not of the pod CIDR
	image, _ := n.reg.push("x/families", helloWasm)
	n.pull(image)
	config := n.podConfig("default")
	four := config.Annotations["petrel.run/pod-ip"]
	config.Annotations["petrel.run/pod-ip"] = four + ",::1"
	config.PortMappings = []*runtimev1.PortMapping{{ContainerPort: int32(port)}}
	p := n.run(config)
	n.launch(p, containerConfig("main", image))
	answers := func() {
		t.Helper()
		for _, ip := range []string{four, "::1"} {
			if code, body, err := askURL("http://" + net.JoinHostPort(ip, strconv.Itoa(port)) + "/"); err != nil || code != http.StatusOK || !strings.Contains(body, "Hello") {
				t.Errorf("%s answers %d %q, %v", ip, code, body, err)
			}
		}
		r, err := n.rt.PodSandboxStatus(n.ctx(), &runtimev1.PodSandboxStatusRequest{PodSandboxId: p.id})
		if err != nil {
			t.Fatal(err)
		}
		network := r.GetStatus().GetNetwork()
		if more := network.GetAdditionalIps(); network.GetIp() != four || len(more) != 1 || more[0].GetIp() != "::1" {
			t.Errorf("the sandbox is at %v", network)
		}
		other := n.podConfig("default")
		other.Annotations["petrel.run/pod-ip"] += ",::1"
		if _, err := n.rt.RunPodSandbox(n.ctx(), &runtimev1.RunPodSandboxRequest{Config: other}); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("another sandbox with the same second address: %v", err)
		}
	}
	answers()
	n.kill()
	n.start()
	answers()
}
