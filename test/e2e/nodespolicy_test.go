package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/test/cluster"
)

// policyPatience is more than a connection in the lab takes; a dropped one takes for ever.
const policyPatience = time.Second

const webFromFriends = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {role: friend}}}]
    ports: [{protocol: TCP, port: 8080}]
`

const callerToNobody = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: caller}
spec:
  podSelector: {matchLabels: {role: friend}}
  policyTypes: [Egress]
`

// TestNodesPolicy holds pods on three nodes to NetworkPolicies: what one may connect to is as its labels say, whichever
// node the other is on, by address and by Service, and nodes still reach their pods.
func TestNodesPolicy(t *testing.T) {
	t.Parallel()
	n := nodesCluster(t, 3, 2)
	w := worldIn(t, n.Cluster())
	w.kubectl("wait", "nodes", "--all", "--for=condition=Ready", "--timeout=150s")
	w.apply(spread(6))
	w.apply(remote)
	w.rollout("web")
	w.kubectl("wait", "pod/caller", "--for=condition=Ready", "--timeout=150s")
	service := w.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}") + ":80"
	c := dialler{w, n, "http://" + w.kubectl("get", "pod", "caller", "-o", "jsonpath={.status.podIP}") + ":8080/dial?address="}

	c.reaches(service, true)
	w.apply(webFromFriends)
	c.reaches(service, false)
	w.kubectl("label", "pod", "caller", "role=friend")
	c.reaches(service, true)
	w.apply(callerToNobody)
	c.reaches(service, false)
	w.eventually("a guest that may not connect to be told so", func() error {
		if answer := c.dial(service); !strings.Contains(strings.ToLower(answer), "permission") && !strings.Contains(answer, "EACCES") {
			return fmt.Errorf("it heard %q", answer)
		}
		return nil
	})
	for i, node := range n.Lab.Nodes() {
		for _, pod := range w.pods() {
			if pod.Spec.NodeName != node.Name || pod.Labels["app"] != "web" {
				continue
			}
			if _, err := ask(w.Context(), n.HTTP(i), "http://"+pod.Status.PodIP+":8080/"); err != nil {
				t.Errorf("%s does not reach its own %s: %v", node.Name, pod.Name, err)
			}
		}
	}
	w.kubectl("delete", "networkpolicy", "web", "caller")
	c.reaches(service, true)
}

// dialler is the guest on node-1 that dials for whoever asks it.
type dialler struct {
	*world
	nodes *cluster.Nodes
	url   string
}

// dial answers what the guest heard or was told; "" when it hangs.
func (c dialler) dial(address string) string {
	ctx, cancel := context.WithTimeout(c.Context(), policyPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+address, nil)
	if err != nil {
		c.Fatal(err)
	}
	res, err := c.nodes.HTTP(0).Do(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body) // what came before it hangs counts
	return string(body)
}

// reaches waits until the guest reaches the Service and each of web's pods, or none of them.
func (c dialler) reaches(service string, want bool) {
	c.Helper()
	addresses := []string{service}
	for _, pod := range c.pods() {
		if pod.Labels["app"] == "web" {
			addresses = append(addresses, pod.Status.PodIP+":8080")
		}
	}
	for _, address := range addresses {
		c.eventually(fmt.Sprintf("%s to be reached: %t", address, want), func() error {
			if answer := c.dial(address); strings.Contains(answer, "probe one web") != want {
				return fmt.Errorf("the guest heard %q", answer)
			}
			return nil
		})
	}
}
