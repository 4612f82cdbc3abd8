package controller

import (
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// heartbeats knows when each node was last heard of, by this process's own clock: the times that nodes write are
// those of other clocks. A process that just started has heard of every node just now.
type heartbeats struct {
	mu       sync.Mutex
	last     map[string]beat
	lastScan time.Time
}

type beat struct {
	lease  time.Time              // what the lease said
	status time.Time              // when the node wrote its Ready condition, by its own clock
	ready  corev1.ConditionStatus // what it wrote
	heard  time.Time              // when any of them changed
}

func newHeartbeats() *heartbeats { return &heartbeats{last: make(map[string]beat)} }

// heard returns when a node was last heard of, after taking in what its lease and its status say now.
func (h *heartbeats) heard(node *corev1.Node, lease *coordinationv1.Lease, now time.Time) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, known := h.last[node.Name]
	next := b
	if lease != nil && lease.Spec.RenewTime != nil {
		next.lease = lease.Spec.RenewTime.Time
	}
	spoke := false
	if c := nodeCondition(node, corev1.NodeReady); c != nil {
		next.ready = c.Status
		// Unknown is what this controller wrote.
		if c.Status != corev1.ConditionUnknown {
			next.status = c.LastHeartbeatTime.Time
			spoke = !next.status.Equal(b.status) || next.ready != b.ready
		}
	}
	if !known || spoke || !next.lease.Equal(b.lease) {
		next.heard = now
	}
	h.last[node.Name] = next
	return next.heard
}

// scanned notes that all nodes are being looked at. When far more time than usual has passed since the last time,
// this process was stopped, or its machine asleep: it could not have heard anything, so that all silence starts
// anew.
func (h *heartbeats) scanned(now time.Time, usual time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.lastScan.IsZero() && now.Sub(h.lastScan) > 2*usual {
		for name, b := range h.last {
			b.heard = now
			h.last[name] = b
		}
	}
	h.lastScan = now
}

// forget drops a node that is gone.
func (h *heartbeats) forget(node string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.last, node)
}

func nodeCondition(node *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == kind {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// readiness is a node's Ready status; unknown while it has never said.
func readiness(node *corev1.Node) corev1.ConditionStatus {
	if c := nodeCondition(node, corev1.NodeReady); c != nil {
		return c.Status
	}
	return corev1.ConditionUnknown
}

// unknownConditions returns a copy of the conditions that says that nothing is known of the node any more.
func unknownConditions(have []corev1.NodeCondition, now metav1.Time) []corev1.NodeCondition {
	after := slices.Clone(have)
	if !slices.ContainsFunc(after, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady }) {
		after = append(after, corev1.NodeCondition{Type: corev1.NodeReady})
	}
	for i := range after {
		c := &after[i]
		if c.Status != corev1.ConditionUnknown {
			c.LastTransitionTime = now
		}
		c.Status, c.Reason, c.Message = corev1.ConditionUnknown, "NodeStatusUnknown", "The node has stopped renewing its lease."
	}
	return after
}

// conditionTaints are the taints by which a node's conditions keep new pods off it.
var conditionTaints = []struct {
	condition corev1.NodeConditionType
	key       string
}{
	{corev1.NodeMemoryPressure, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.TaintNodeDiskPressure},
	{corev1.NodePIDPressure, corev1.TaintNodePIDPressure},
	{corev1.NodeNetworkUnavailable, corev1.TaintNodeNetworkUnavailable},
}

// lifecycleKeys are the taints that this controller alone sets and removes.
var lifecycleKeys = []string{
	corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeUnschedulable,
	corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure,
	corev1.TaintNodeNetworkUnavailable,
}

// lifecycleTaints are the taints that a node's state asks for. evict tells whether its pods are to leave when it is
// not ready.
func lifecycleTaints(node *corev1.Node, evict bool) []corev1.Taint {
	var taints []corev1.Taint
	add := func(key string, effect corev1.TaintEffect) {
		taints = append(taints, corev1.Taint{Key: key, Effect: effect})
	}
	key := ""
	switch readiness(node) {
	case corev1.ConditionFalse:
		key = corev1.TaintNodeNotReady
	case corev1.ConditionUnknown:
		key = corev1.TaintNodeUnreachable
		if nodeCondition(node, corev1.NodeReady) == nil {
			key = corev1.TaintNodeNotReady // it is about to join
		}
	}
	if key != "" {
		add(key, corev1.TaintEffectNoSchedule)
		if evict {
			add(key, corev1.TaintEffectNoExecute)
		}
	}
	for _, t := range conditionTaints {
		if c := nodeCondition(node, t.condition); c != nil && c.Status == corev1.ConditionTrue {
			add(t.key, corev1.TaintEffectNoSchedule)
		}
	}
	if node.Spec.Unschedulable {
		add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	return taints
}

// mergeTaints replaces the lifecycle taints of a node by those wanted; all others stay. A taint that stays keeps the
// time it was added, by which evictions are reckoned. changed tells whether anything differs.
func mergeTaints(have, want []corev1.Taint, now metav1.Time) (merged []corev1.Taint, changed bool) {
	for _, t := range have {
		if !slices.Contains(lifecycleKeys, t.Key) {
			merged = append(merged, t)
			continue
		}
		at := slices.IndexFunc(want, func(w corev1.Taint) bool { return w.Key == t.Key && w.Effect == t.Effect })
		if at < 0 {
			changed = true
			continue
		}
		merged = append(merged, t)
	}
	for _, w := range want {
		if slices.ContainsFunc(have, func(t corev1.Taint) bool { return t.Key == w.Key && t.Effect == w.Effect }) {
			continue
		}
		w.TimeAdded = &now
		merged = append(merged, w)
		changed = true
	}
	return merged, changed
}
