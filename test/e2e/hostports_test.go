package e2e

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/petrelrun/petrel/lab"
	"github.com/petrelrun/petrel/test/cluster"
)

const hostPortPods = `
apiVersion: v1
kind: Pod
metadata: {name: hosted, labels: {app: hosted}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: box
    image: $BOX
    command: [box, serve, ":8080", "from a host port"]
    ports: [{containerPort: 8080, hostPort: 8090}, {containerPort: 8080, hostPort: 8091, hostIP: 127.0.0.1}]
---
apiVersion: v1
kind: Pod
metadata: {name: hosted-wasm}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 1
  containers:
  - name: probe
    image: $PROBE
    ports: [{containerPort: 8080, hostPort: 8092}]
    env: [{name: RELEASE, value: one}]
`

const hostPortTwice = `
apiVersion: v1
kind: Pod
metadata: {name: twice}
spec:
  nodeName: node-1
  containers:
  - {name: box, image: $BOX, command: [sleep, "100000"], ports: [{containerPort: 1, hostPort: 8090}]}
`

const denyHosted = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-hosted}
spec: {podSelector: {matchLabels: {app: hosted}}, policyTypes: [Ingress]}
`

// quietLimit is how long a port may say nothing before it is taken for closed; it is asked again where it must not be.
const quietLimit = 5 * time.Second

// hostPortsOfPods reaches pods of both kinds at their node's ports: from another node, the node itself, and a pod.
func hostPortsOfPods(w *world, n *cluster.Nodes) {
	w.apply(hostPortPods)
	w.kubectl("wait", "pod/hosted", "pod/hosted-wasm", "--for=condition=Ready", "--timeout=150s")
	localhosts := []string{"127.0.0.1", "[::1]"}
	var nodes []string // the node's addresses, as URLs have them
	for _, a := range n.Lab.Nodes()[0].Addresses {
		host, _ := strings.CutSuffix(netip.AddrPortFrom(a, 0).String(), ":0")
		nodes = append(nodes, host)
	}
	node := nodes[0]
	in := func(pod string) func(string) (string, error) {
		return func(url string) (string, error) {
			return w.k.Run(w.Context(), "", "exec", pod, "--", "box", "get", url)
		}
	}
	fromNode, fromPod := in("host"), in("client")
	client := n.HTTP(1)
	client.Timeout = quietLimit
	outside := func(url string) (string, error) {
		answer, err := client.Get(url)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		return string(body), err
	}
	answers := func(get func(string) (string, error), at, want string) {
		w.Helper()
		w.eventually(at+" to answer", func() error {
			out, err := get("http://" + at + "/")
			if err == nil && !strings.Contains(out, want) {
				err = fmt.Errorf("it says %q", out)
			}
			return err
		})
	}
	closed := func(get func(string) (string, error), at string) {
		w.Helper()
		w.eventually(at+" to be closed", func() error {
			if out, err := get("http://" + at + "/"); err == nil {
				return fmt.Errorf("it says %q", out)
			}
			return nil
		})
	}
	everywhere := func() {
		w.Helper()
		for port, want := range map[string]string{":8090": "from a host port", ":8092": ""} {
			for _, node := range nodes {
				answers(outside, node+port, want)
				answers(fromNode, node+port, want)
				answers(fromPod, node+port, want)
			}
			for _, localhost := range localhosts {
				answers(fromNode, localhost+port, want)
				closed(fromPod, localhost+port) // its own
			}
		}
		answers(fromNode, "127.0.0.1:8091", "from a host port")
		closed(fromNode, node+":8091")
		closed(outside, node+":8091")
	}
	everywhere()

	w.apply(hostPortTwice)
	w.eventually("the second pod to be refused", func() error {
		p := w.pod("twice")
		if p.Status.Phase != "Failed" || p.Status.Reason != "NodePorts" || !strings.Contains(p.Status.Message, "8090/TCP") {
			return fmt.Errorf("it is %s: %s %s", p.Status.Phase, p.Status.Reason, p.Status.Message)
		}
		return nil
	})
	w.apply(denyHosted)
	for _, node := range nodes {
		closed(outside, node+":8090")
		closed(fromPod, node+":8090")
		answers(fromNode, node+":8090", "from a host port") // the node may always
	}
	w.kubectl("delete", "networkpolicy", "deny-hosted")
	answers(outside, node+":8090", "from a host port")

	if err := n.Lab.Nodes()[0].Kill(w.Context(), lab.Worker); err != nil {
		w.Fatal(err)
	}
	answers(outside, node+":8090", "from a host port") // the kernel serves on
	if err := n.Lab.Nodes()[0].Restart(lab.Worker); err != nil {
		w.Fatal(err)
	}
	everywhere()
	w.kubectl("delete", "pod", "hosted", "hosted-wasm", "twice", "--timeout=150s")
	closed(outside, node+":8090")
	closed(fromNode, "127.0.0.1:8090")
	closed(fromNode, "127.0.0.1:8092")
}
