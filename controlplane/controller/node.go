package controller

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

const (
	// nodeWorkers is how many nodes are worked on at once.
	nodeWorkers = 4
	// nodeScanPeriod is how often all nodes are looked at for leases that ran out.
	nodeScanPeriod = 5 * time.Second
)

// nodeLifecycle notices nodes that fell silent, says so in their status, taints nodes by their state, and marks the
// pods of silent nodes as not ready. Evictions follow from the taints.
type nodeLifecycle struct {
	*loop[string]
	nodes, leases, pods cache.Indexer
	beats               *heartbeats
}

func newNodeLifecycle(e *env) (controller, error) {
	if err := e.addIndexers(podsResource, cache.Indexers{indexNode: byNode}); err != nil {
		return nil, err
	}
	c := &nodeLifecycle{
		nodes: e.indexer(nodesResource), leases: e.indexer(leasesResource), pods: e.indexer(podsResource),
		beats: newHeartbeats(),
	}
	c.loop = &loop[string]{
		env: e, title: "node", workers: nodeWorkers, reconcile: c.step, ticker: c.scan,
		sources: []source[string]{
			{gvr: nodesResource, handle: c.onNode},
			{gvr: leasesResource, handle: c.onLease},
			{gvr: podsResource, handle: c.onPod},
		},
	}
	return c, nil
}

func (c *nodeLifecycle) onNode(ch change) {
	if ch.new == nil {
		c.beats.forget(ch.old.GetName())
	}
	c.add(ch.object().GetName())
}

// onLease takes note of a renewal at once, so that its time is when it came and not when a scan found it.
func (c *nodeLifecycle) onLease(ch change) {
	lease, ok := ch.new.(*coordinationv1.Lease)
	if !ok || lease.Namespace != corev1.NamespaceNodeLease {
		return
	}
	node, ok := lookup[*corev1.Node](c.nodes, types.NamespacedName{Name: lease.Name})
	if !ok {
		return
	}
	c.beats.heard(node, lease, c.env.Clock.Now())
}

// onPod has a silent node looked at when one of its pods says that it is ready.
func (c *nodeLifecycle) onPod(ch change) {
	pod, ok := ch.new.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" || !ready(pod) {
		return
	}
	node, ok := lookup[*corev1.Node](c.nodes, types.NamespacedName{Name: pod.Spec.NodeName})
	if ok && silenced(node) {
		c.add(node.Name)
	}
}

// scan looks at all nodes from time to time: a lease that runs out makes no event.
func (c *nodeLifecycle) scan(ctx context.Context) {
	tick := time.NewTicker(nodeScanPeriod)
	defer tick.Stop()
	for {
		c.beats.scanned(c.env.Clock.Now(), nodeScanPeriod)
		for _, node := range list[*corev1.Node](c.nodes) {
			c.add(node.Name)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// silent tells whether a node has not been heard of for longer than the grace period.
func (c *nodeLifecycle) silent(node *corev1.Node) bool {
	lease, _ := lookup[*coordinationv1.Lease](c.leases, types.NamespacedName{
		Namespace: corev1.NamespaceNodeLease, Name: node.Name,
	})
	now := c.env.Clock.Now()
	return now.Sub(c.beats.heard(node, lease, now)) > c.env.NodeGracePeriod
}

// silenced tells whether this controller has declared the node's state unknown.
func silenced(node *corev1.Node) bool {
	ready := nodeCondition(node, corev1.NodeReady)
	return ready != nil && ready.Status == corev1.ConditionUnknown
}

// step brings one node's status, taints and pods in line with what is known of it.
func (c *nodeLifecycle) step(ctx context.Context, name string) (time.Duration, error) {
	node, ok := lookup[*corev1.Node](c.nodes, types.NamespacedName{Name: name})
	if !ok || node.DeletionTimestamp != nil {
		return 0, nil
	}
	if c.silent(node) && readiness(node) != corev1.ConditionUnknown {
		changed := node.DeepCopy()
		changed.Status.Conditions = unknownConditions(node.Status.Conditions, c.env.now())
		stored, err := c.env.Client.UpdateStatus(ctx, changed)
		if err != nil {
			return 0, fmt.Errorf("update status of node: %w", err)
		}
		node = stored.(*corev1.Node)
		c.env.Logger.Warn("node fell silent", "node", name)
		c.env.warn(node, "NodeNotReady", "Node %s status is now: NodeNotReady", name)
	}
	if err := c.taint(ctx, node); err != nil {
		return 0, err
	}
	if silenced(node) {
		return 0, c.markPods(ctx, node)
	}
	return 0, nil
}

// taint writes the node's lifecycle taints when they differ.
func (c *nodeLifecycle) taint(ctx context.Context, node *corev1.Node) error {
	taints, changed := mergeTaints(node.Spec.Taints, lifecycleTaints(node, c.someReady()), c.env.now())
	if !changed {
		return nil
	}
	next := node.DeepCopy()
	next.Spec.Taints = taints
	if _, err := c.env.Client.Update(ctx, next); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("taint node: %w", err)
	}
	return nil
}

// someReady tells whether any node is ready. When none is, the fault is more likely on this side (the control plane
// was restarted, its network is cut) than on theirs, and there would be nowhere to move the pods: nothing is
// evicted.
func (c *nodeLifecycle) someReady() bool {
	for _, node := range list[*corev1.Node](c.nodes) {
		if readiness(node) == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

// markPods says of the pods of a silent node that they are not ready, so that nobody is sent to them.
func (c *nodeLifecycle) markPods(ctx context.Context, node *corev1.Node) error {
	var marked []*corev1.Pod
	for _, pod := range byIndex[*corev1.Pod](c.pods, indexNode, node.Name) {
		if ready(pod) && !finished(pod) {
			marked = append(marked, pod)
		}
	}
	_, err := together(0, len(marked), func(i int) error {
		pod := marked[i].DeepCopy()
		ready := podCondition(pod, corev1.PodReady)
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "NodeNotReady", "The node has fallen silent."
		ready.LastTransitionTime = c.env.now()
		if _, err := c.env.Client.UpdateStatus(ctx, pod); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("mark pod as not ready: %w", err)
		}
		return nil
	})
	return err
}
