package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/lab"
	"github.com/petrelrun/petrel/test/cluster"
)

// nodesCluster answers a cluster of several nodes that this test alone uses.
func nodesCluster(t *testing.T, nodes, links int) *cluster.Nodes {
	t.Helper()
	return nodesClusterWith(t, cluster.Options{}, nodes, links)
}

// nodesClusterWith is nodesCluster with options but for where it is.
func nodesClusterWith(t *testing.T, o cluster.Options, nodes, links int) *cluster.Nodes {
	t.Helper()
	dir := filepath.Join(suite.dir, folderName(t))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	o.Dir, o.Binaries = dir, suite.tree.Bin()
	n, err := cluster.StartNodes(t.Context(), o, nodes, links, func(line string) { t.Log(line) })
	if errors.Is(err, cluster.ErrUnsupported) {
		t.Skipf("a cluster of several nodes: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for i := range n.Lab.Nodes() {
				t.Logf("--- the end of %s\n%s", n.LogPath(i, lab.Worker), cluster.Tail(n.LogPath(i, lab.Worker), 60))
			}
		}
		if err := n.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// spread is web with so many pods, on nodes that differ as far as there are enough.
func spread(replicas int) string {
	return strings.ReplaceAll(web, "replicas: 2", fmt.Sprintf("replicas: %d", replicas))
}

// remote is a Pod on the first node that may connect to Services and pods, which a guest may not without a grant.
const remote = `
apiVersion: v1
kind: Pod
metadata:
  name: caller
  annotations: {petrel.run/egress: "dns, tcp:10.43.0.0/16:80, tcp:10.42.0.0/16:8080"}
spec:
  nodeName: node-1
  containers:
  - name: caller
    image: $PROBE
    ports: [{containerPort: 8080}]
`

// TestNodes runs a cluster of three nodes: pods are on all, reach one another and Services from each, tell their logs
// through the API, and a node that dies is left and comes back.
func TestNodes(t *testing.T) {
	t.Parallel()
	n := nodesCluster(t, 3, 2) // nodes 1 and 3 share a link: routes between them, a tunnel to node 2
	w := worldIn(t, n.Cluster())
	w.kubectl("wait", "nodes", "--all", "--for=condition=Ready", "--timeout=150s")
	w.apply(spread(6))
	w.apply(remote)
	w.rollout("web")
	w.kubectl("wait", "pod/caller", "--for=condition=Ready", "--timeout=150s")

	t.Run("each node has its addresses", func(t *testing.T) { nodeAddresses(w.in(t), n) })
	t.Run("pods are on every node", func(t *testing.T) {
		for node, pods := range podsByNode(w.in(t)) {
			if len(pods) < 1 {
				t.Errorf("%s has none", node)
			}
		}
	})
	t.Run("a service from every node", func(t *testing.T) { serviceFromEveryNode(w.in(t), n) })
	t.Run("one socket for all pods", func(t *testing.T) { oneSocketForAllPods(w.in(t), n) })
	t.Run("a guest reaches other nodes", func(t *testing.T) { guestReachesNodes(w.in(t), n) })
	t.Run("names on every node", func(t *testing.T) { namesOnEveryNode(w.in(t), n) })
	t.Run("a node port from outside", func(t *testing.T) { nodePortFromOutside(w.in(t), n) })
	t.Run("logs of every node", func(t *testing.T) { logsOfEveryNode(w.in(t), n) })
	t.Run("volumes of a node", func(t *testing.T) { volumesOfANode(w.in(t), n) })
	t.Run("workers are killed under load", func(t *testing.T) { killedUnderLoad(w.in(t), n) })
	t.Run("drain", func(t *testing.T) { drainOne(w.in(t)) })
	t.Run("a node dies and comes back", func(t *testing.T) { nodeDies(w.in(t), n) })
}

// nodeAddresses checks that pods have addresses of their node's part of the network.
func nodeAddresses(w *world, n *cluster.Nodes) {
	nodes, err := w.client.CoreV1().Nodes().List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	parts := map[string]string{}
	for i, node := range nodes.Items {
		want := n.Lab.Nodes()[i].Addresses[0].String()
		if node.Name != n.Lab.Nodes()[i].Name || node.Status.Addresses[0] != (corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: want}) {
			w.Errorf("%s has the addresses %v, want %s", node.Name, node.Status.Addresses, want)
		}
		parts[node.Name] = prefixOf(node.Spec.PodCIDR)
	}
	if len(parts) != 3 || parts["node-1"] == parts["node-2"] || parts["node-2"] == parts["node-3"] {
		w.Fatalf("pod networks %v", parts)
	}
	for _, pod := range w.pods() {
		if !strings.HasPrefix(pod.Status.PodIP, parts[pod.Spec.NodeName]) {
			w.Errorf("%s on %s has %s, not of %s", pod.Name, pod.Spec.NodeName, pod.Status.PodIP, parts[pod.Spec.NodeName])
		}
	}
}

// prefixOf turns 10.42.3.0/24 into 10.42.3.
func prefixOf(cidr string) string { return strings.TrimSuffix(cidr, "0/24") }

// podsByNode answers web's pods; every node has an entry.
func podsByNode(w *world) map[string][]string {
	w.Helper()
	by := map[string][]string{"node-1": nil, "node-2": nil, "node-3": nil}
	for _, pod := range w.pods() {
		if pod.Labels["app"] == "web" {
			by[pod.Spec.NodeName] = append(by[pod.Spec.NodeName], pod.Name)
		}
	}
	return by
}

// serviceFromEveryNode asks the ClusterIP from each node until every pod has answered each, on connections of their own.
func serviceFromEveryNode(w *world, n *cluster.Nodes) {
	ip := w.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	if !strings.HasPrefix(ip, "10.43.") {
		w.Fatalf("the service's address is %s", ip)
	}
	for i, node := range n.Lab.Nodes() {
		client, seen := n.HTTP(i), map[string]bool{}
		w.eventually("every pod to answer "+node.Name, func() error {
			pod, err := ask(w.Context(), client, "http://"+ip+"/")
			if err != nil {
				return err
			}
			if seen[pod] = true; len(seen) < 6 {
				return fmt.Errorf("%d of 6 so far", len(seen))
			}
			return nil
		})
	}
}

// ask answers the name of the pod that serves a URL.
func ask(ctx context.Context, client *http.Client, url string) (string, error) {
	res, _, err := request(ctx, client, url)
	if err != nil {
		return "", err
	}
	return res.Header.Get("X-Pod"), nil
}

// read answers what a URL serves.
func read(ctx context.Context, client *http.Client, url string) (string, error) {
	_, body, err := request(ctx, client, url)
	return body, err
}

func request(ctx context.Context, client *http.Client, url string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return res, string(body), err
}

// guestReachesNodes has the guest on node-1 connect to the Service and to a pod on each node.
func guestReachesNodes(w *world, n *cluster.Nodes) {
	client := n.HTTP(0)
	caller := "http://" + w.kubectl("get", "pod", "caller", "-o", "jsonpath={.status.podIP}") + ":8080/dial?address="
	dial := func(address string) (string, error) { return read(w.Context(), client, caller+address) }
	for _, pod := range w.pods() {
		if pod.Labels["app"] != "web" {
			continue
		}
		if body, err := dial(pod.Status.PodIP + ":8080"); err != nil || !strings.Contains(body, "probe one "+pod.Name) {
			w.Errorf("%s on %s from a guest on node-1: %v\n%s", pod.Name, pod.Spec.NodeName, err, body)
		}
	}
	ip := w.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	elsewhere := podsByNode(w)
	others := append(elsewhere["node-2"], elsewhere["node-3"]...)
	seen := map[string]bool{}
	w.eventually("pods on other nodes to answer a guest on node-1", func() error {
		body, err := dial(ip + ":80")
		if err != nil {
			return err
		}
		for _, pod := range others {
			seen[pod] = seen[pod] || strings.Contains(body, "probe one "+pod)
		}
		for _, pod := range others {
			if !seen[pod] {
				return fmt.Errorf("%s has not, the last answer was %s", pod, body)
			}
		}
		return nil
	})
}

// namesOnEveryNode asks the cluster's DNS from each node, and has a guest look a name up.
func namesOnEveryNode(w *world, n *cluster.Nodes) {
	ip := w.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	name := "web." + w.ns + ".svc.cluster.local"
	for i, node := range n.Lab.Nodes() {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return n.Lab.Nodes()[i].Dial(ctx, netip.MustParseAddrPort("10.43.0.10:53")) // over TCP, as names may be asked for
		}}
		w.eventually(node.Name+" to know the service's name", func() error {
			got, err := resolver.LookupHost(w.Context(), name+".")
			if err == nil && !slices.Equal(got, []string{ip}) {
				err = fmt.Errorf("it is %v, want %s", got, ip)
			}
			return err
		})
	}
	caller := "http://" + w.kubectl("get", "pod", "caller", "-o", "jsonpath={.status.podIP}") + ":8080/lookup?name=web"
	if body, err := read(w.Context(), n.HTTP(1), caller); err != nil || !strings.Contains(body, ip) {
		w.Errorf("web is %q for a guest, want %s: %v", body, ip, err)
	}
}

// nodePortFromOutside has a machine outside of the cluster ask each node for the Service.
func nodePortFromOutside(w *world, n *cluster.Nodes) {
	w.kubectl("patch", "service", "web", "-p", `{"spec": {"type": "NodePort"}}`)
	port := w.kubectl("get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}")
	curl, err := exec.LookPath("curl")
	if err != nil {
		w.Fatal(err)
	}
	for _, node := range n.Lab.Nodes() {
		url := "http://" + net.JoinHostPort(node.Addresses[0].String(), port) + "/"
		seen := map[string]bool{}
		w.eventually("pods of three nodes behind "+url, func() error {
			var out strings.Builder
			cmd := &exec.Cmd{Path: curl, Args: []string{"curl", "--silent", "--show-error", "--max-time", "5", url}, Stdout: &out, Stderr: &out}
			if err := errors.Join(n.Lab.ExecOutside(cmd), cmd.Wait()); err != nil {
				return fmt.Errorf("%w: %s", err, out.String())
			}
			seen[strings.TrimSpace(out.String())] = true
			if len(seen) < 6 {
				return fmt.Errorf("answers so far: %v", seen)
			}
			return nil
		})
	}
}

// logsOfEveryNode has a pod on each node print a line and reads it through the API.
func logsOfEveryNode(w *world, n *cluster.Nodes) {
	for _, pod := range w.pods() {
		if pod.Labels["app"] != "web" {
			continue
		}
		if _, err := ask(w.Context(), n.HTTP(0), "http://"+pod.Status.PodIP+":8080/log?line=heard-"+pod.Name); err != nil {
			w.Fatal(err)
		}
		w.comes("heard-"+pod.Name, "logs", pod.Name)
	}
}

// drainOne empties node-2 and lets it be used again.
func drainOne(w *world) {
	w.kubectl("drain", "node-2", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=150s")
	w.rollout("web")
	if by := podsByNode(w); len(by["node-2"]) > 0 || len(by["node-1"])+len(by["node-3"]) != 6 {
		w.Errorf("after the drain: %v", by)
	}
	matches(w.T, w.kubectl("get", "nodes"), `^node-2 +Ready,SchedulingDisabled `)
	w.kubectl("uncordon", "node-2")
	w.kubectl("rollout", "restart", "deployment/web")
	w.rollout("web")
	if by := podsByNode(w); len(by["node-2"]) == 0 {
		w.Errorf("after the uncordon: %v", by)
	}
}

// nodeDies cuts node-3's power: it is NotReady in time, its pods are no endpoints any more, and when its worker is
// started again it is Ready.
func nodeDies(w *world, n *cluster.Nodes) {
	node, err := n.Lab.Node("node-3")
	if err != nil {
		w.Fatal(err)
	}
	if err := node.KillAll(w.Context()); err != nil {
		w.Fatal(err)
	}
	dead := podsByNode(w)["node-3"]
	if len(dead) == 0 {
		w.Fatal("no pod was on it")
	}
	w.kubectl("wait", "node/node-3", "--for=condition=Ready=Unknown", "--timeout=150s")
	matches(w.T, w.kubectl("get", "nodes"), `^node-3 +NotReady `, `^node-1 +Ready `)
	w.kubectl("wait", "pod/"+dead[0], "--for=condition=Ready=False", "--timeout=150s")
	ip := w.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	w.eventually("the service to leave the dead node's pods alone", func() error {
		for range 20 {
			pod, err := ask(w.Context(), n.HTTP(0), "http://"+ip+"/")
			if err != nil {
				return err
			}
			if slices.Contains(dead, pod) {
				return fmt.Errorf("%s answers", pod)
			}
		}
		return nil
	})
	if err := node.Restart(lab.Worker); err != nil {
		w.Fatal(err)
	}
	w.kubectl("wait", "node/node-3", "--for=condition=Ready", "--timeout=150s")
	w.rollout("web")
	w.eventually("its pods to serve again", func() error {
		_, err := ask(w.Context(), n.HTTP(2), "http://"+ip+"/")
		return err
	})
}
