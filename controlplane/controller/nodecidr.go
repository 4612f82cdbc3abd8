package controller

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// nodeCIDRWorkers is one, so that two nodes are never given the same prefix.
const nodeCIDRWorkers = 1

// nodeCIDRs gives each node its pod CIDRs, one of each of the cluster's.
type nodeCIDRs struct {
	*loop[string]
	nodes   cache.Indexer
	book    *cidrBook
	stocked bool
	refused map[string]bool // nodes for which nothing was left
}

func newNodeCIDRs(e *env) (controller, error) {
	c := &nodeCIDRs{nodes: e.indexer(nodesResource), refused: map[string]bool{}}
	var err error
	if c.book, err = newCIDRBook(e.ClusterCIDRs, e.NodeCIDRMaskSizeIPv4, e.NodeCIDRMaskSizeIPv6); err != nil {
		return nil, err
	}
	c.loop = &loop[string]{
		env: e, title: "nodecidr", workers: nodeCIDRWorkers, reconcile: c.step,
		sources: []source[string]{{gvr: nodesResource, handle: func(ch change) { c.add(ch.object().GetName()) }}},
	}
	return c, nil
}

// run needs the cluster to have CIDRs; without any there is nothing to give.
func (c *nodeCIDRs) run(ctx context.Context) error {
	if len(c.env.ClusterCIDRs) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	return c.loop.run(ctx)
}

// step takes note of a node, and gives it its prefixes when it has none. Only steps touch the book, one at a time.
func (c *nodeCIDRs) step(ctx context.Context, name string) (time.Duration, error) {
	if !c.stocked {
		// What nodes have is noted before anything is given out: a node later in the queue may have what looks free.
		for _, node := range list[*corev1.Node](c.nodes) {
			c.book.note(node.Name, podCIDRs(node))
		}
		c.stocked = true
	}
	node, ok := lookup[*corev1.Node](c.nodes, types.NamespacedName{Name: name})
	if !ok {
		c.book.forget(name)
		c.retryRefused()
		return 0, nil
	}
	if c.book.note(name, podCIDRs(node)); len(podCIDRs(node)) > 0 || node.DeletionTimestamp != nil {
		delete(c.refused, name)
		return 0, nil
	}
	return 0, c.give(ctx, node)
}

// retryRefused has the nodes that got nothing looked at again, now that something is free.
func (c *nodeCIDRs) retryRefused() {
	for name := range c.refused {
		delete(c.refused, name)
		c.add(name)
	}
}

func (c *nodeCIDRs) give(ctx context.Context, node *corev1.Node) error {
	prefixes, err := c.book.give(node.Name)
	if errors.Is(err, errCIDRsExhausted) {
		c.env.Logger.Warn("no pod CIDR is left for a node", "node", node.Name, "error", err)
		c.env.warn(node, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", node.Name)
		c.refused[node.Name] = true // until another node goes
		return nil
	}
	if err != nil {
		return err
	}
	changed := node.DeepCopy()
	changed.Spec.PodCIDRs = nil
	for _, p := range prefixes {
		changed.Spec.PodCIDRs = append(changed.Spec.PodCIDRs, p.String())
	}
	changed.Spec.PodCIDR = changed.Spec.PodCIDRs[0]
	_, err = c.env.Client.Update(ctx, changed)
	if apierrors.IsNotFound(err) {
		return nil // its deletion comes by the cache
	}
	if err != nil { // what was given stays the node's: the write may have succeeded though its answer was lost
		return fmt.Errorf("write pod CIDR of node: %w", err)
	}
	c.env.Logger.Info("node was given its pod CIDRs", "node", node.Name, "podCIDRs", changed.Spec.PodCIDRs)
	return nil
}

// podCIDRs reads the prefixes of a node; what is no prefix takes no place.
func podCIDRs(node *corev1.Node) []netip.Prefix {
	texts := node.Spec.PodCIDRs
	if len(texts) == 0 && node.Spec.PodCIDR != "" {
		texts = []string{node.Spec.PodCIDR}
	}
	var out []netip.Prefix
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil && !slices.Contains(out, p.Masked()) {
			out = append(out, p.Masked())
		}
	}
	return out
}
