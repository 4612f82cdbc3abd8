package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/lab"
	"github.com/petrelrun/petrel/test/cluster"
)

// asker is a Pod on a node that may look names up, and connect to the Service web by its name.
const asker = `
apiVersion: v1
kind: Pod
metadata:
  name: asker-$NODE
  annotations: {petrel.run/egress: "dns, tcp:web:80"}
spec:
  nodeName: $NODE
  containers:
  - name: asker
    image: $PROBE
    ports: [{containerPort: 8080}]
`

// TestNodesNames has guests on two nodes resolve the cluster's names at their own node, with the control plane and
// without, also after a restart of the worker; and reads what they did as flows of both nodes.
func TestNodesNames(t *testing.T) {
	t.Parallel()
	n := nodesCluster(t, 2, 1)
	w := worldIn(t, n.Cluster())
	w.kubectl("wait", "nodes", "--all", "--for=condition=Ready", "--timeout=150s")
	w.apply(web)
	var askers []guestAsker
	for i, node := range n.Lab.Nodes() {
		w.apply(strings.ReplaceAll(asker, "$NODE", node.Name))
		askers = append(askers, guestAsker{w, n, i, "asker-" + node.Name, ""})
	}
	w.rollout("web")
	for i := range askers {
		a := &askers[i]
		w.kubectl("wait", "pod/"+a.pod, "--for=condition=Ready", "--timeout=150s")
		a.url = "http://" + w.kubectl("get", "pod", a.pod, "-o", "jsonpath={.status.podIP}") + ":8080"
	}
	ip := w.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	resolved := func(when string) {
		t.Helper()
		for _, a := range askers {
			w.eventually(a.pod+" to resolve web "+when, func() error {
				var got []string
				body, err := a.ask("/lookup?name=web")
				if err == nil {
					err = json.Unmarshal([]byte(body), &got)
				}
				if err != nil || len(got) != 1 || got[0] != ip {
					return fmt.Errorf("%q, %v; want %s", body, err, ip)
				}
				return nil
			})
		}
	}
	resolved("at first")
	nodesFlows(w, askers)

	first, second := n.Lab.Nodes()[0], n.Lab.Nodes()[1]
	if err := first.Kill(t.Context(), lab.ControlPlane); err != nil {
		t.Fatal(err)
	}
	resolved("without a control plane")
	if err := errors.Join(second.Kill(t.Context(), lab.Worker), second.Restart(lab.Worker)); err != nil {
		t.Fatal(err)
	}
	resolved("from a worker that starts without a control plane")
	if err := first.Restart(lab.ControlPlane); err != nil {
		t.Fatal(err)
	}
	w.eventually("the control plane to be back", func() error {
		_, err := w.k.Run(t.Context(), "", "get", "--raw", "/readyz")
		return err
	})
	w.kubectl("wait", "nodes", "--all", "--for=condition=Ready", "--timeout=150s")
}

// nodesFlows reads the askers' connections to the Service with petrel flows.
func nodesFlows(w *world, askers []guestAsker) {
	cmd := exec.CommandContext(w.Context(), w.cluster.Petrel(), "flows", "--kubeconfig", w.cluster.Kubeconfig, "-n", w.ns, "-f", "-o", "json", "--service", "web")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	type flow struct{ Node, Kind, Direction, SourcePod, DestinationPod, Service string }
	told := make(chan flow, 64)
	go func() {
		defer close(told)
		for dec := json.NewDecoder(out); ; {
			var f flow
			if dec.Decode(&f) != nil {
				return
			}
			told <- f
		}
	}()
	for _, a := range askers {
		seen := false
		w.eventually("the flow of "+a.pod, func() error {
			if body, err := a.ask("/dial?address=web:80"); err != nil || !strings.Contains(body, "probe one web-") {
				return fmt.Errorf("%s hears %q, %v", a.pod, body, err)
			}
			for {
				select {
				case f, ok := <-told:
					if !ok {
						return errors.New("petrel flows has ended")
					}
					seen = seen || f.SourcePod == w.ns+"/"+a.pod && f.Service == w.ns+"/web:http" && f.Direction == "egress" && "asker-"+f.Node == a.pod &&
						strings.HasPrefix(f.DestinationPod, w.ns+"/web-")
					continue
				default:
				}
				if !seen {
					return errors.New("it is not told yet")
				}
				return nil
			}
		})
	}
}

// guestAsker is the guest of a pod on one of the nodes.
type guestAsker struct {
	*world
	nodes *cluster.Nodes
	node  int
	pod   string
	url   string
}

// ask answers the guest's answer to a path.
func (a guestAsker) ask(path string) (string, error) {
	u, err := url.Parse(a.url + path)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(a.Context(), http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	res, err := a.nodes.HTTP(a.node).Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}
