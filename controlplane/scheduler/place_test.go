package scheduler

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func withHostPort(ip string, port int32, protocol corev1.Protocol) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{
			ContainerPort: port, HostPort: port, HostIP: ip, Protocol: protocol,
		})
	}
}

func selecting(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{key: value} }
}

func term(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}}
}

func requiring(terms ...corev1.NodeSelectorTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}}
	}
}

func preferring(weight int32, t corev1.NodeSelectorTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: weight, Preference: t}},
		}}
	}
}

func TestFilters(t *testing.T) {
	const gpu = "example.com/gpu"
	for _, tc := range []struct {
		name  string
		node  *corev1.Node
		there []*corev1.Pod // on the node already
		pod   *corev1.Pod
		want  string // empty when the node takes the pod
	}{
		{"an empty node takes an undemanding pod", node("n"), nil, pod("p"), ""},
		{"cpu that is exactly there", node("n"), []*corev1.Pod{pod("a", on("n"), asking("cpu", "3"))}, pod("p", asking("cpu", "1")), ""},
		{"cpu one thousandth short", node("n"), []*corev1.Pod{pod("a", on("n"), asking("cpu", "3"))}, pod("p", asking("cpu", "1001m")), "1 Insufficient cpu"},
		{"memory", node("n"), nil, pod("p", asking("memory", "9Gi")), "1 Insufficient memory"},
		{"both missing are both told", node("n"), nil, pod("p", asking("cpu", "5", "memory", "9Gi")), "1 Insufficient cpu, 1 Insufficient memory"},
		{"ephemeral storage that the node does not state", node("n"), nil, pod("p", asking("ephemeral-storage", "1Gi")), "1 Insufficient ephemeral-storage"},
		{"extended resource", node("n", roomFor(gpu, "2")), []*corev1.Pod{pod("a", on("n"), asking(gpu, "1"))}, pod("p", asking(gpu, "1")), ""},
		{"extended resource used up", node("n", roomFor(gpu, "2")), []*corev1.Pod{pod("a", on("n"), asking(gpu, "2"))}, pod("p", asking(gpu, "1")), "1 Insufficient example.com/gpu"},
		{"number of pods", node("n", roomFor("pods", "1")), []*corev1.Pod{pod("a", on("n"))}, pod("p"), "1 Too many pods"},
		{"overcommitted node still takes a pod that asks for nothing", node("n", roomFor("cpu", "1")), []*corev1.Pod{pod("a", on("n"), asking("cpu", "2"))}, pod("p"), ""},
		{"an init container counts when it asks for more", node("n"), nil, pod("p", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init", Resources: corev1.ResourceRequirements{Requests: list("cpu", "5")}}}
		}), "1 Insufficient cpu"},
		{"selector met", node("n", labelled("disk", "ssd")), nil, pod("p", selecting("disk", "ssd")), ""},
		{"selector not met", node("n"), nil, pod("p", selecting("disk", "ssd")), "1 node(s) didn't match Pod's node affinity/selector"},
		{"affinity In", node("n", labelled("zone", "b")), nil, pod("p", requiring(term("zone", corev1.NodeSelectorOpIn, "a", "b"))), ""},
		{"affinity NotIn", node("n", labelled("zone", "b")), nil, pod("p", requiring(term("zone", corev1.NodeSelectorOpNotIn, "b"))), "1 node(s) didn't match Pod's node affinity/selector"},
		{"affinity Gt", node("n", labelled("cores", "8")), nil, pod("p", requiring(term("cores", corev1.NodeSelectorOpGt, "4"))), ""},
		{"one of two terms is enough", node("n", labelled("zone", "b")), nil, pod("p", requiring(term("zone", corev1.NodeSelectorOpIn, "a"), term("zone", corev1.NodeSelectorOpExists))), ""},
		{"taint", node("n", tainted("gpu", corev1.TaintEffectNoSchedule)), nil, pod("p"), "1 node(s) had untolerated taint {gpu: v}"},
		{"NoExecute keeps new pods off too", node("n", tainted("gone", corev1.TaintEffectNoExecute)), nil, pod("p"), "1 node(s) had untolerated taint {gone: v}"},
		{"tolerated taint", node("n", tainted("gpu", corev1.TaintEffectNoSchedule)), nil, pod("p", tolerating("gpu")), ""},
		{"toleration of another effect", node("n", tainted("gpu", corev1.TaintEffectNoSchedule)), nil, pod("p", func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}}
		}), "1 node(s) had untolerated taint {gpu: v}"},
		{"PreferNoSchedule keeps nobody off", node("n", tainted("busy", corev1.TaintEffectPreferNoSchedule)), nil, pod("p"), ""},
		{"cordoned", node("n", func(n *corev1.Node) { n.Spec.Unschedulable = true }), nil, pod("p"), "1 node(s) were unschedulable"},
		{"cordoned and tolerated", node("n", func(n *corev1.Node) { n.Spec.Unschedulable = true }), nil, pod("p", tolerating(corev1.TaintNodeUnschedulable)), ""},
		{"host port taken", node("n"), []*corev1.Pod{pod("a", on("n"), withHostPort("", 80, ""))}, pod("p", withHostPort("127.0.0.1", 80, corev1.ProtocolTCP)), "1 node(s) didn't have free ports for the requested pod ports"},
		{"host port of another protocol", node("n"), []*corev1.Pod{pod("a", on("n"), withHostPort("", 53, corev1.ProtocolUDP))}, pod("p", withHostPort("", 53, corev1.ProtocolTCP)), ""},
		{"host port on another address", node("n"), []*corev1.Pod{pod("a", on("n"), withHostPort("127.0.0.2", 80, ""))}, pod("p", withHostPort("127.0.0.1", 80, "")), ""},
		{"any address written out", node("n"), []*corev1.Pod{pod("a", on("n"), withHostPort("0.0.0.0", 80, ""))}, pod("p", withHostPort("127.0.0.1", 80, "")), "1 node(s) didn't have free ports for the requested pod ports"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := Place(NewPod(tc.pod), snapshotOf([]*corev1.Node{tc.node}, tc.there...))
			if tc.want == "" {
				if d.Node != tc.node.Name {
					t.Fatalf("placed on %q, want %q; %s", d.Node, tc.node.Name, d.Diagnosis.Explain())
				}
				return
			}
			if want := "0/1 nodes are available: " + tc.want + "."; d.Node != "" || d.Diagnosis.Explain() != want {
				t.Fatalf("placed on %q, says %q, want %q", d.Node, d.Diagnosis.Explain(), want)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	nodes := []*corev1.Node{
		node("a", roomFor("cpu", "1")), node("b", roomFor("cpu", "1")),
		node("c", tainted(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule)),
	}
	d := Place(NewPod(pod("p", asking("cpu", "2"))), snapshotOf(nodes))
	want := "0/3 nodes are available: 2 Insufficient cpu, 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: v}."
	if got := d.Diagnosis.Explain(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	d = Place(NewPod(pod("p")), snapshotOf(nil))
	if got, want := d.Diagnosis.Explain(), "0/0 nodes are available: no node has registered."; got != want {
		t.Errorf("without nodes: got %q, want %q", got, want)
	}
}

func TestExplainBoundsItsReasons(t *testing.T) {
	var nodes []*corev1.Node
	for i, n := range manyNodes(maxReasons + 5) {
		tainted("taint-"+string(rune('a'+i)), corev1.TaintEffectNoSchedule)(n)
		nodes = append(nodes, n)
	}
	d := Place(NewPod(pod("p")), snapshotOf(nodes))
	if got := d.Diagnosis.Explain(); len(d.Diagnosis.Reasons) != maxReasons+5 || !endsWith(got, "and 5 more reasons.") {
		t.Errorf("got %q", got)
	}
}

func endsWith(s, end string) bool { return len(s) >= len(end) && s[len(s)-len(end):] == end }

func TestScores(t *testing.T) {
	for _, tc := range []struct {
		name  string
		nodes []*corev1.Node
		there []*corev1.Pod
		pod   *corev1.Pod
		want  string
	}{
		{"the first by name of equal nodes", []*corev1.Node{node("b"), node("a"), node("c")}, nil, pod("p"), "a"},
		{"the node with fewer pods", []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod("x", on("a"))}, pod("p"), "b"},
		{"the node with more free memory", []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod("x", on("a"), asking("memory", "1Gi")), pod("y", on("b"), asking("memory", "3Gi"))}, pod("p"), "a"},
		{"a preference outweighs even use", []*corev1.Node{node("a"), node("b", labelled("disk", "ssd"))}, []*corev1.Pod{pod("x", on("b"), asking("cpu", "3"))}, pod("p", preferring(10, term("disk", corev1.NodeSelectorOpExists))), "b"},
		{"a taint that deters outweighs even use", []*corev1.Node{node("a", tainted("busy", corev1.TaintEffectPreferNoSchedule)), node("b")}, []*corev1.Pod{pod("x", on("b"), asking("cpu", "3"))}, pod("p"), "b"},
		{"a tolerated taint does not deter", []*corev1.Node{node("a", tainted("busy", corev1.TaintEffectPreferNoSchedule)), node("b")}, []*corev1.Pod{pod("x", on("b"), asking("cpu", "3"))}, pod("p", tolerating("busy")), "a"},
		{"a preference that no node meets changes nothing", []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod("x", on("a"))}, pod("p", preferring(10, term("disk", corev1.NodeSelectorOpExists))), "b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := snapshotOf(tc.nodes, tc.there...)
			for range 3 { // the same each time
				if d := Place(NewPod(tc.pod), s); d.Node != tc.want {
					t.Fatalf("placed on %q, want %q", d.Node, tc.want)
				}
			}
		})
	}
}

// TestSpread places pods that ask for nothing: every node gets the same number.
func TestSpread(t *testing.T) {
	c := newCluster()
	for _, n := range manyNodes(7) {
		c.SetNode(n)
	}
	for i := range 70 {
		p := NewPod(pod(string(rune('A' + i))))
		c.Assume(p, Place(p, c.Snapshot()).Node)
	}
	for _, n := range c.Snapshot().Nodes {
		if n.Used.Pods != 10 {
			t.Errorf("%s has %d pods, want 10", n.Name, n.Used.Pods)
		}
	}
}

func TestUnservedConstraints(t *testing.T) {
	anti := func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: corev1.LabelHostname}},
		}}
	}
	if got := unserved(pod("p", anti)); got != "spec.affinity.podAntiAffinity" {
		t.Errorf("got %q", got)
	}
	if got := unserved(pod("p", preferring(1, term("x", corev1.NodeSelectorOpExists)))); got != "" {
		t.Errorf("a served preference is reported: %q", got)
	}
}
