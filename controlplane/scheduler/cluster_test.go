package scheduler

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestSnapshotsAreImmutableAndShare(t *testing.T) {
	c := newCluster()
	c.SetNode(node("a"))
	c.SetNode(node("b"))
	first := c.Snapshot()
	a, b := first.Nodes[0], first.Nodes[1]
	c.Assume(NewPod(pod("p", asking("cpu", "1"), withHostPort("", 80, ""))), "a")
	second := c.Snapshot()
	if first.Nodes[0] != a || a.Used.Pods != 0 || len(a.ports) != 0 {
		t.Error("the earlier snapshot changed")
	}
	if second.Nodes[0].Used.MilliCPU != 1000 || second.Nodes[0].Used.Pods != 1 {
		t.Errorf("the assumed pod does not count: %+v", second.Nodes[0].Used)
	}
	if second.Nodes[1] != b {
		t.Error("an unchanged node was copied")
	}
	if c.Snapshot() != second {
		t.Error("an unchanged cluster made another snapshot")
	}
}

func TestAssumedPods(t *testing.T) {
	c := newCluster()
	c.SetNode(node("a"))
	p := pod("p", asking("cpu", "3"))
	c.Assume(NewPod(p), "a")
	if fits(NewPod(pod("q", asking("cpu", "2"))), c.node("a")) {
		t.Error("a bind under way does not count")
	}
	if c.Forget(p.UID) == nil || c.node("a").Used.MilliCPU != 0 {
		t.Error("a failed bind keeps its room")
	}
	c.Assume(NewPod(p), "a")
	bound := p.DeepCopy()
	bound.Spec.NodeName = "a"
	c.SetPod(bound)
	if c.Assumed(p.UID) || c.node("a").Used.MilliCPU != 3000 {
		t.Errorf("confirmed pod: assumed %v, used %+v", c.Assumed(p.UID), c.node("a").Used)
	}
	if c.Forget(p.UID) != nil {
		t.Error("a confirmed pod was forgotten")
	}
}

func TestBindElsewhereWins(t *testing.T) {
	c := newCluster()
	c.SetNode(node("a"))
	c.SetNode(node("b"))
	p := pod("p")
	c.Assume(NewPod(p), "a")
	p = p.DeepCopy()
	p.Spec.NodeName = "b"
	c.SetPod(p)
	if c.node("a").Used.Pods != 0 || c.node("b").Used.Pods != 1 {
		t.Error("the pod counts where it is not")
	}
}

func TestPodsOfAnUnknownNode(t *testing.T) {
	c := newCluster()
	c.SetPod(pod("p", on("late"), asking("cpu", "1")))
	if len(c.Snapshot().Nodes) != 0 {
		t.Fatal("a node nobody registered takes pods")
	}
	c.SetNode(node("late"))
	if got := c.Snapshot().Nodes[0].Used.MilliCPU; got != 1000 {
		t.Errorf("used %d, want 1000", got)
	}
	c.RemoveNode("late")
	if len(c.Snapshot().Nodes) != 0 || len(c.nodes) != 1 {
		t.Error("a removed node is still there, or its pods are forgotten")
	}
	c.RemovePod("uid-p")
	if len(c.nodes) != 0 {
		t.Error("nothing is left of the node, but it is kept")
	}
}

func TestFitsSince(t *testing.T) {
	c := newCluster()
	c.SetNode(node("a", roomFor("cpu", "1")))
	p := NewPod(pod("p", asking("cpu", "2")))
	s := c.Snapshot()
	if c.FitsSince(s, p) {
		t.Error("nothing changed")
	}
	c.SetNode(node("b", roomFor("cpu", "1")))
	if c.FitsSince(s, p) {
		t.Error("the new node is too small")
	}
	c.SetNode(node("a", roomFor("cpu", "2")))
	if !c.FitsSince(s, p) {
		t.Error("the node that grew is missed")
	}
}

func TestHeartbeatsChangeNothing(t *testing.T) {
	c := newCluster()
	c.SetNode(node("a"))
	beat := node("a", func(n *corev1.Node) {
		n.ResourceVersion = "2"
		n.Status.Conditions = []corev1.NodeCondition{{Type: "Ready"}}
	})
	if _, changed := c.SetNode(beat); changed {
		t.Error("a heartbeat wakes pods")
	}
}

// TestClusterAgainstModel drives the incremental cache with random events and compares it to one built from scratch.
func TestClusterAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := newCluster()
		nodes := map[string]*corev1.Node{}
		pods := map[types.UID]*corev1.Pod{}
		for range 300 {
			name, podName := fmt.Sprintf("n%d", r.IntN(5)), fmt.Sprintf("p%d", r.IntN(12))
			uid := types.UID("uid-" + podName)
			switch r.IntN(6) {
			case 0:
				n := node(name, roomFor("cpu", fmt.Sprint(1+r.IntN(8))))
				nodes[name] = n
				c.SetNode(n)
			case 1:
				delete(nodes, name)
				c.RemoveNode(name)
			case 2, 3:
				p := pod(podName, on(name), asking("cpu", fmt.Sprintf("%dm", r.IntN(900)), "example.com/x", fmt.Sprint(r.IntN(3))),
					withHostPort("", int32(80+r.IntN(3)), ""))
				pods[uid] = p
				c.SetPod(p)
			case 4:
				delete(pods, uid)
				c.RemovePod(uid)
			case 5:
				if pods[uid] == nil && !c.Assumed(uid) {
					c.Assume(NewPod(pod(podName, asking("cpu", "100m"))), name)
					if r.IntN(2) == 0 {
						c.Forget(uid)
					} else {
						p := pod(podName, on(name), asking("cpu", "100m"))
						pods[uid] = p
						c.SetPod(p)
					}
				}
			}
			compare(t, c.Snapshot(), nodes, pods)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

func compare(t *testing.T, got *Snapshot, nodes map[string]*corev1.Node, pods map[types.UID]*corev1.Pod) {
	t.Helper()
	if len(got.Nodes) != len(nodes) {
		t.Errorf("%d nodes, want %d", len(got.Nodes), len(nodes))
		return
	}
	for i, n := range got.Nodes {
		if i > 0 && got.Nodes[i-1].Name >= n.Name {
			t.Errorf("nodes out of order: %s, %s", got.Nodes[i-1].Name, n.Name)
		}
		var want Resources
		ports := map[hostPort]int{}
		for _, p := range pods {
			if p.Spec.NodeName == n.Name {
				want = want.plus(requestsOf(p), 1)
				for _, h := range portsOf(p) {
					ports[h]++
				}
			}
		}
		for _, h := range n.ports {
			ports[h]--
		}
		for h, c := range ports {
			if c != 0 {
				t.Errorf("%s: port %v off by %d", n.Name, h, c)
			}
		}
		used := n.Used
		dropZeros(&used)
		dropZeros(&want)
		if !reflect.DeepEqual(used, want) {
			t.Errorf("%s: used %+v, want %+v", n.Name, used, want)
		}
		if !n.Allocatable.equal(resourcesOf(nodes[n.Name].Status.Allocatable)) {
			t.Errorf("%s: allocatable %+v is not the node's", n.Name, n.Allocatable)
		}
	}
}

func dropZeros(r *Resources) {
	kept := map[corev1.ResourceName]int64{}
	for name, n := range r.Extended {
		if n != 0 {
			kept[name] = n
		}
	}
	r.Extended = kept
}

// TestOverheadTakesRoom: what running a pod takes beside its containers counts like what they ask for.
func TestOverheadTakesRoom(t *testing.T) {
	p := pod("p", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = list("cpu", "100m", "memory", "8Mi")
		p.Spec.Overhead = list("cpu", "250m", "memory", "24Mi")
	})
	if got := requestsOf(p); got.MilliCPU != 350 || got.Memory != 32<<20 || got.Pods != 1 {
		t.Errorf("the pod takes %+v", got)
	}
	object := node("n")
	object.Status.Allocatable = list("cpu", "300m", "memory", "1Gi", "pods", "10")
	if reasons := filterResources(NewPod(p), Node{Name: "n"}.describe(object), nil); !slices.Equal(reasons, []string{"Insufficient cpu"}) {
		t.Errorf("a node without room for the overhead objects: %q", reasons)
	}
}
