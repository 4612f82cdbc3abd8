package worker

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/network"
	"github.com/petrelrun/petrel/worker/network/cni"
	"github.com/petrelrun/petrel/worker/service/feed"
)

// podNetwork is how this node's pods get their addresses: in a cluster of one machine from PodCIDR, else from what the
// control plane gives the node.
func (c *Config) podNetwork() (network.Config, error) {
	if c.NodeIPs[0].IsLoopback() {
		prefix, err := netip.ParsePrefix(c.PodCIDR)
		if err != nil {
			return network.Config{}, fmt.Errorf("pod CIDR: %w", err)
		}
		return network.Config{Mode: network.Loopback, PodCIDRs: []netip.Prefix{prefix.Masked()}, Logger: c.Logger}, nil
	}
	return network.Config{
		Mode: network.Cluster, NodeName: c.NodeName, NodeIPs: c.NodeIPs, ClusterCIDRs: c.ClusterCIDRs,
		ServiceCIDRs: slices.DeleteFunc(slices.Clone(c.ServiceCIDRs), func(p netip.Prefix) bool { return p.Addr().IsLoopback() }),
		Backend:      network.Backend(c.NetworkBackend), MTU: c.PodMTU, Masquerade: !c.NoMasquerade,
		Dir: filepath.Join(c.RootDir, "network"), Netns: c.netns, Logger: c.Logger,
	}, nil
}

// RemoveNetwork removes what the pod network left in the kernel for the pods that go on without the worker. It is for
// when none does, after Run.
func (w *Worker) RemoveNetwork() error { return w.pool.Remove() }

// serveCNI attaches containers of other runtimes until ctx ends.
func (w *Worker) serveCNI(ctx context.Context) error {
	if w.cfg.CNISocket == "" {
		return nil
	}
	server, err := cni.New(cni.Config{Socket: w.cfg.CNISocket, Network: w.pool, Logger: w.cfg.Logger})
	if err != nil {
		return err
	}
	return server.Run(ctx)
}

// followNodes tells the pod network of the cluster's nodes until ctx ends. changed is called when this node was given
// its pod CIDRs.
func (w *Worker) followNodes(ctx context.Context, m *manager, changed func()) {
	if w.cfg.NodeIPs[0].IsLoopback() {
		return
	}
	known, synced, cidrs := map[string]network.Node{}, false, w.pool.PodCIDRs()
	numbered := false // no sandbox has an address of what the node had before
	tell := func() {
		if !synced {
			return // half of the nodes would have the routes to the others removed
		}
		w.pool.SetNodes(slices.Collect(maps.Values(known)))
		if now := w.pool.PodCIDRs(); !slices.Equal(now, cidrs) {
			cidrs, numbered = now, false
			if err := tellPodCIDR(ctx, w.set, w.pool); err != nil && !cri.IsUnimplemented(err) {
				w.cfg.Logger.Debug("runtime was not told the pod addresses", "error", err) // it is when it comes
			}
			w.guard.renumbered()
			changed()
		}
		if !numbered && len(cidrs) > 0 && w.runtimeUp.Load() {
			numbered = m.renumber(ctx, cidrs)
		}
	}
	feed.New(w.cfg.Client, w.cfg.Client.CoreV1().Nodes(), &corev1.Node{}, "", feed.Handler[*corev1.Node]{
		Set:    func(n *corev1.Node) { known[n.Name] = networkNode(n); tell() },
		Gone:   func(k feed.Key) { delete(known, k.Name); tell() },
		Synced: func() { synced = true; tell() },
	}).Run(ctx)
}

// renumber stops the sandboxes whose addresses are of prefixes that the node no longer has: nothing leads to them, from
// this machine or another. Their pods go on in new ones. Those that are not to be restarted are left to end by
// themselves. It is false when it has to be tried again.
func (m *manager) renumber(ctx context.Context, prefixes []netip.Prefix) bool {
	sandboxes, err := m.rt.ListPodSandbox(ctx, nil)
	done := err == nil
	for _, s := range sandboxes {
		lost := m.lostAddress(s, prefixes)
		if lost == "" || s.GetState() != runtimev1.PodSandboxState_SANDBOX_READY {
			continue
		}
		object := m.newest(types.UID(s.GetLabels()[labelPodUID]))
		if object == nil {
			continue // nobody's; it is torn down as such
		}
		if object.Spec.RestartPolicy != corev1.RestartPolicyAlways {
			m.events.warn(object, "", eventSandboxChanged, "The node's pod CIDR changed: nothing reaches the pod at %s any more.", lost)
			continue
		}
		if err := m.rt.StopPodSandbox(ctx, s.GetId()); err != nil {
			done = false
		}
	}
	return done
}

// lostAddress is the first of a sandbox's addresses that is of none of the prefixes, nor the machine's own; empty for none.
func (m *manager) lostAddress(s *runtimev1.PodSandbox, prefixes []netip.Prefix) string {
	for _, ip := range addressesTold(s) {
		addr, err := netip.ParseAddr(ip)
		known := slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) }) || slices.Contains(m.cfg.NodeIPs, addr)
		if err == nil && !known {
			return ip
		}
	}
	return ""
}

// networkNode is what of a Node the pod network needs. What cannot be read is as if it was not there.
func networkNode(n *corev1.Node) network.Node {
	out := network.Node{Name: n.Name}
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			out.IPs = append(out.IPs, ip)
		}
	}
	texts := n.Spec.PodCIDRs
	if len(texts) == 0 && n.Spec.PodCIDR != "" {
		texts = []string{n.Spec.PodCIDR}
	}
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			out.PodCIDRs = append(out.PodCIDRs, p.Masked())
		}
	}
	return out
}

// tellPodCIDR tells a runtime where addresses come from, once that is known.
func tellPodCIDR(ctx context.Context, rt Runtime, pool *network.Network) error {
	if prefix := pool.Prefix(); prefix.IsValid() {
		return rt.UpdatePodCIDR(ctx, prefix.String())
	}
	return nil
}
