package e2e

import (
	"strings"
	"testing"
)

// TestDrain cordons the node, drains it of this test's pods by eviction, and lets it be used again. It runs while no
// other test does, since they share the node.
func TestDrain(t *testing.T) {
	w := worldIn(t, sharedCluster(t))
	node := strings.TrimSpace(w.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"))
	w.apply(web)
	w.rollout("web")

	w.kubectl("cordon", node)
	t.Cleanup(func() {
		if t.Failed() { // the tests after this one need the node
			w.kubectlAfter("uncordon", node)
		}
	})
	matches(t, w.kubectl("get", "nodes"), ` Ready,SchedulingDisabled `)
	out := w.kubectl("drain", node, "--pod-selector=app=web", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=150s")
	contains(t, out, "evicting pod "+w.ns+"/web-", "drained")
	w.eventually("the new pods to wait for a node", func() error {
		pods := w.kubectl("get", "pods")
		if strings.Count(pods, "Pending") != 2 || strings.Count(pods, "\n") != 3 { // below the headings
			return &missing{what: "two pending pods", in: pods}
		}
		return nil
	})
	w.comes(`FailedScheduling .*unschedulable`, "events") // the scheduler says why
	matches(t, w.kubectl("get", "pods", "-o", `jsonpath={.items[0].status.conditions[?(@.type=="PodScheduled")].reason}`), `^Unschedulable$`)

	w.kubectl("uncordon", node)
	w.rollout("web")
	w.becomes(w.appURL("web"), 200, "probe one")
}

// kubectlAfter runs kubectl in a cleanup, where the test's own context has ended.
func (w *world) kubectlAfter(args ...string) {
	if out, err := w.k.Run(w.background(), "", args...); err != nil {
		w.Errorf("%v\n%s", err, out)
	}
}

// TestUnschedulable asks for more than the node has and reads why it cannot be.
func TestUnschedulable(t *testing.T) {
	w := newWorld(t)
	w.kubectlIn(w.fill(strings.ReplaceAll(server, "    ports:", "    resources: {requests: {memory: 900Ti}}\n    ports:")), "create", "-f", "-")
	w.eventually("the scheduler to say why", func() error { return hasEvents(w, "pod/server", "FailedScheduling") })
	matches(t, w.kubectl("describe", "pod", "server"), `FailedScheduling.*0/1 nodes are available.*[Ii]nsufficient memory`)
	matches(t, w.kubectl("get", "pods"), `^server +0/1 +Pending `)
}
