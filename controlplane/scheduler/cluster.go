package scheduler

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// cluster is what is known of nodes and of the pods on them, those included whose bind is under way. It is a state
// machine without a lock: its user has one.
type cluster struct {
	nodes map[string]*Node
	// order is the known nodes by name: what the next snapshot will be.
	order []*Node
	pods  map[types.UID]*placed
	last  *Snapshot
	// generation counts the changes.
	generation uint64
}

// placed is a pod on a node. assumed is true until the API shows that the bind took place.
type placed struct {
	pod     *Pod
	node    string
	assumed bool
}

func newCluster() *cluster {
	return &cluster{nodes: make(map[string]*Node), pods: make(map[types.UID]*placed), last: &Snapshot{}}
}

// Snapshot returns the nodes as they are now. When nothing changed it is the one before.
func (c *cluster) Snapshot() *Snapshot {
	if c.last.generation != c.generation {
		c.last = &Snapshot{Nodes: slices.Clone(c.order), generation: c.generation}
	}
	return c.last
}

// put stores a node's new state. A node that is neither known nor has pods is dropped.
func (c *cluster) put(n *Node) *Node {
	c.generation++
	n.generation = c.generation
	at, found := slices.BinarySearchFunc(c.order, n.Name, func(have *Node, name string) int {
		return cmp.Compare(have.Name, name)
	})
	switch {
	case n.Object != nil && found:
		c.order[at] = n
	case n.Object != nil:
		c.order = slices.Insert(c.order, at, n)
	case found:
		c.order = slices.Delete(c.order, at, at+1)
	}
	if n.Object == nil && n.Used.Pods == 0 {
		delete(c.nodes, n.Name)
		return n
	}
	c.nodes[n.Name] = n
	return n
}

func (c *cluster) node(name string) *Node {
	if n := c.nodes[name]; n != nil {
		return n
	}
	return &Node{Name: name}
}

// SetNode takes in a node's state. changed is false when it makes no difference to any pod.
func (c *cluster) SetNode(object *corev1.Node) (n *Node, changed bool) {
	before := c.node(object.Name)
	after := before.describe(object)
	if sameForScheduling(before, after) {
		return before, false
	}
	return c.put(after), true
}

// RemoveNode takes in that a node is gone.
func (c *cluster) RemoveNode(name string) {
	if n := c.nodes[name]; n != nil {
		c.put(n.describe(nil))
	}
}

// SetPod takes in that a pod has its node. It confirms an assumed one.
func (c *cluster) SetPod(pod *corev1.Pod) {
	if have := c.pods[pod.UID]; have != nil {
		if have.node == pod.Spec.NodeName {
			have.assumed = false
			next := NewPod(pod)
			if have.pod.Requests.equal(next.Requests) && slices.Equal(have.pod.Ports, next.Ports) {
				have.pod = next
				return
			}
		}
		c.RemovePod(pod.UID)
	}
	c.place(NewPod(pod), pod.Spec.NodeName, false)
}

// RemovePod takes in that a pod takes nothing of its node any more, and returns that node; nil when the pod was on
// none.
func (c *cluster) RemovePod(uid types.UID) *Node {
	have := c.pods[uid]
	if have == nil {
		return nil
	}
	delete(c.pods, uid)
	return c.put(c.node(have.node).without(have.pod))
}

// Assume counts a pod on a node before the bind took place.
func (c *cluster) Assume(p *Pod, node string) { c.place(p, node, true) }

// Forget takes an assumed pod off its node again, and returns the node; nil when the pod is not assumed.
func (c *cluster) Forget(uid types.UID) *Node {
	if !c.Assumed(uid) {
		return nil
	}
	return c.RemovePod(uid)
}

// Assumed tells whether a pod's bind is under way.
func (c *cluster) Assumed(uid types.UID) bool {
	have := c.pods[uid]
	return have != nil && have.assumed
}

func (c *cluster) place(p *Pod, node string, assumed bool) {
	c.pods[p.UID()] = &placed{pod: p, node: node, assumed: assumed}
	c.put(c.node(node).with(p))
}

// uses tells whether a pod other than the one has the claim on some node.
func (c *cluster) uses(namespace, claim string, but types.UID) bool {
	for uid, have := range c.pods {
		if uid != but && have.pod.Object.Namespace == namespace && slices.Contains(claimsOf(have.pod.Object), claim) {
			return true
		}
	}
	return false
}

// FitsSince tells whether any node that changed since the snapshot would take the pod now.
func (c *cluster) FitsSince(s *Snapshot, p *Pod) bool {
	if s.generation == c.generation {
		return false
	}
	for _, n := range c.order {
		if n.generation > s.generation && fits(p, n) {
			return true
		}
	}
	return false
}
