package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// evictionWorkers is how many pods are looked at at once.
const evictionWorkers = 4

// reasonTaintEviction is the reason of the condition on a pod that has to leave a tainted node, by Kubernetes' name.
const reasonTaintEviction = "DeletionByTaintManager"

// evictions deletes pods from nodes whose NoExecute taints they do not tolerate, or not for so long.
type evictions struct {
	*loop[types.NamespacedName]
	nodes, pods cache.Indexer
}

func newEvictions(e *env) (controller, error) {
	if err := e.addIndexers(podsResource, cache.Indexers{indexNode: byNode}); err != nil {
		return nil, err
	}
	c := &evictions{nodes: e.indexer(nodesResource), pods: e.indexer(podsResource)}
	c.loop = &loop[types.NamespacedName]{
		env: e, title: "eviction", workers: evictionWorkers, reconcile: c.step,
		sources: []source[types.NamespacedName]{
			{gvr: nodesResource, handle: c.onNode},
			{gvr: podsResource, handle: c.onPod},
		},
	}
	return c, nil
}

func (c *evictions) onNode(ch change) {
	node, ok := ch.new.(*corev1.Node)
	if !ok || len(noExecute(node)) == 0 {
		return
	}
	if old, ok := ch.old.(*corev1.Node); ok && equality.Semantic.DeepEqual(noExecute(old), noExecute(node)) {
		return
	}
	for _, pod := range byIndex[*corev1.Pod](c.pods, indexNode, node.Name) {
		c.add(keyOf(pod))
	}
}

func (c *evictions) onPod(ch change) {
	pod, ok := ch.new.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return
	}
	if old, ok := ch.old.(*corev1.Pod); ok && old.Spec.NodeName == pod.Spec.NodeName &&
		equality.Semantic.DeepEqual(old.Spec.Tolerations, pod.Spec.Tolerations) {
		return
	}
	c.add(keyOf(pod))
}

func noExecute(node *corev1.Node) []corev1.Taint {
	return slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(t corev1.Taint) bool {
		return t.Effect != corev1.TaintEffectNoExecute
	})
}

// step evicts one pod when its time on its node is over, or comes back when it will be.
func (c *evictions) step(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	pod, ok := lookup[*corev1.Pod](c.pods, key)
	if !ok || pod.DeletionTimestamp != nil || finished(pod) || pod.Spec.NodeName == "" {
		return 0, nil
	}
	node, ok := lookup[*corev1.Node](c.nodes, types.NamespacedName{Name: pod.Spec.NodeName})
	if !ok {
		return 0, nil // the pod garbage collector's business
	}
	at, ok := evictAt(pod, noExecute(node), c.env.EvictionTolerance)
	if !ok {
		return 0, nil
	}
	if wait := at.Sub(c.env.Clock.Now()); wait > 0 {
		return wait, nil
	}
	c.env.Logger.Info("evicting pod from tainted node", "pod", key, "node", node.Name)
	c.env.event(pod, "TaintManagerEviction", "Marking for deletion Pod %s", key)
	message := "The node's taint is not tolerated, or no longer."
	return 0, c.env.disrupt(ctx, pod, reasonTaintEviction, message, false, metav1.DeleteOptions{})
}

// evictAt is when a pod has to leave a node with these NoExecute taints; ok is false when it may stay. Of several
// tolerations for one taint the shortest counts, of several taints the first to run out. fallback is for pods that
// say nothing about the taints of a lost node.
func evictAt(pod *corev1.Pod, taints []corev1.Taint, fallback time.Duration) (at time.Time, ok bool) {
	for i := range taints {
		taint := &taints[i]
		patience, forever := tolerance(pod, taint, fallback)
		if forever {
			continue
		}
		var leave time.Time
		if taint.TimeAdded != nil {
			leave = taint.TimeAdded.Add(patience)
		}
		if !ok || leave.Before(at) {
			at, ok = leave, true
		}
	}
	return at, ok
}

// tolerance is how long a pod bears a taint.
func tolerance(pod *corev1.Pod, taint *corev1.Taint, fallback time.Duration) (patience time.Duration, forever bool) {
	tolerated := false
	var shortest *int64
	for i := range pod.Spec.Tolerations {
		t := &pod.Spec.Tolerations[i]
		if !t.ToleratesTaint(klog.Background(), taint, true) {
			continue
		}
		tolerated = true
		if t.TolerationSeconds != nil && (shortest == nil || *t.TolerationSeconds < *shortest) {
			shortest = t.TolerationSeconds
		}
	}
	switch {
	case tolerated && shortest == nil:
		return 0, true
	case tolerated:
		return time.Duration(max(*shortest, 0)) * time.Second, false
	case taint.Key == corev1.TaintNodeNotReady || taint.Key == corev1.TaintNodeUnreachable:
		return fallback, false
	}
	return 0, false
}

// disrupt deletes a pod for a reason that is not its own, and says so in its status first: whoever counts failures
// can leave it out. fail also ends its phase, for a pod whose node will never do that.
func (e *env) disrupt(
	ctx context.Context, pod *corev1.Pod, reason, message string, fail bool, opts metav1.DeleteOptions,
) error {
	changed := pod.DeepCopy()
	if c := podCondition(changed, corev1.DisruptionTarget); c == nil || c.Status != corev1.ConditionTrue {
		kept := slices.DeleteFunc(changed.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.DisruptionTarget
		})
		changed.Status.Conditions = append(kept, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, Message: message,
			LastTransitionTime: e.now(),
		})
	}
	if fail && !finished(changed) {
		changed.Status.Phase = corev1.PodFailed
	}
	if !equality.Semantic.DeepEqual(pod.Status, changed.Status) {
		if _, err := e.Client.UpdateStatus(ctx, changed); err != nil {
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("mark pod %s as disrupted: %w", pod.Name, err)
		}
	}
	opts.Preconditions = metav1.NewUIDPreconditions(string(pod.UID))
	err := e.Client.Delete(ctx, named(pod), opts)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	return nil
}
