package controller

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

const (
	// podGCPeriod is how often all pods are looked at.
	podGCPeriod = 20 * time.Second
	// nodeQuarantine is how long a node must be missing before its pods are taken for lost: a node may be deleted and
	// register again.
	nodeQuarantine = 40 * time.Second
	// reasonPodGC is the reason of the condition on a pod that is removed, by Kubernetes' name.
	reasonPodGC = "DeletionByPodGC"
)

// podGC removes pods that nobody else will: those of nodes that are gone, those that were to be deleted before they
// had a node, and the oldest finished ones when there are too many.
type podGC struct {
	*loop[string]
	nodes, pods cache.Indexer
	mu          sync.Mutex
	missing     map[string]time.Time
}

func newPodGC(e *env) (controller, error) {
	c := &podGC{
		nodes: e.indexer(nodesResource), pods: e.indexer(podsResource), missing: make(map[string]time.Time),
	}
	c.loop = &loop[string]{
		env: e, title: "pod garbage collector", workers: 1, reconcile: c.sweep, ticker: c.tick,
		sources: []source[string]{
			{gvr: nodesResource, handle: func(change) {}},
			{gvr: podsResource, handle: func(change) {}},
		},
	}
	return c, nil
}

// sweepAll is the only key: a sweep looks at everything.
const sweepAll = "pods"

func (c *podGC) tick(ctx context.Context) {
	tick := time.NewTicker(podGCPeriod)
	defer tick.Stop()
	for {
		c.add(sweepAll)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (c *podGC) sweep(ctx context.Context, _ string) (time.Duration, error) {
	pods := list[*corev1.Pod](c.pods)
	lost, err := c.lost(ctx, pods)
	return 0, errors.Join(err,
		c.removeAll(ctx, lost, "The pod's node no longer exists."),
		c.removeAll(ctx, unplaced(pods), "The pod was deleted before it had a node."),
		c.removeAll(ctx, c.outOfService(pods), "The pod's node is out of service."),
		c.removeAll(ctx, surplus(pods, c.env.TerminatedPodThreshold), "There are too many finished pods."),
	)
}

// removeAll takes pods away without waiting for a node to confirm.
func (c *podGC) removeAll(ctx context.Context, pods []*corev1.Pod, why string) error {
	_, err := together(0, len(pods), func(i int) error {
		c.env.Logger.Info("removing pod", "pod", keyOf(pods[i]), "reason", why)
		if finished(pods[i]) {
			return c.env.forceDelete(ctx, pods[i])
		}
		return c.env.disrupt(ctx, pods[i], reasonPodGC, why, true, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	})
	return err
}

func (e *env) forceDelete(ctx context.Context, pod *corev1.Pod) error {
	err := e.Client.Delete(ctx, named(pod), metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](0), Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// lost finds the pods of nodes that have been missing for long and that the API, asked afresh, does not know.
func (c *podGC) lost(ctx context.Context, pods []*corev1.Pod) ([]*corev1.Pod, error) {
	onNode := make(map[string][]*corev1.Pod)
	for _, pod := range pods {
		name := pod.Spec.NodeName
		if name == "" {
			continue
		}
		if _, ok := lookup[*corev1.Node](c.nodes, types.NamespacedName{Name: name}); !ok {
			onNode[name] = append(onNode[name], pod)
		}
	}
	var lost []*corev1.Pod
	var errs []error
	for _, name := range c.overdue(onNode) {
		_, err := c.env.Client.Get(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
		switch {
		case apierrors.IsNotFound(err):
			lost = append(lost, onNode[name]...)
		case err != nil:
			errs = append(errs, err)
		}
	}
	return lost, errors.Join(errs...)
}

// overdue updates since when nodes are missing and returns those whose quarantine is over.
func (c *podGC) overdue(onNode map[string][]*corev1.Pod) []string {
	now := c.env.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.missing {
		if _, ok := onNode[name]; !ok {
			delete(c.missing, name)
		}
	}
	var over []string
	for name := range onNode {
		since, ok := c.missing[name]
		if !ok {
			c.missing[name] = now
			continue
		}
		if now.Sub(since) >= nodeQuarantine {
			over = append(over, name)
		}
	}
	slices.Sort(over)
	return over
}

// unplaced finds the pods that are being deleted and never had a node that could confirm it.
func unplaced(pods []*corev1.Pod) []*corev1.Pod {
	var found []*corev1.Pod
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil && pod.Spec.NodeName == "" {
			found = append(found, pod)
		}
	}
	return found
}

// outOfService finds the terminating pods of nodes that somebody has declared out of service.
func (c *podGC) outOfService(pods []*corev1.Pod) []*corev1.Pod {
	var found []*corev1.Pod
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil || pod.Spec.NodeName == "" {
			continue
		}
		node, ok := lookup[*corev1.Node](c.nodes, types.NamespacedName{Name: pod.Spec.NodeName})
		if ok && readiness(node) != corev1.ConditionTrue && slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
			return t.Key == corev1.TaintNodeOutOfService
		}) {
			found = append(found, pod)
		}
	}
	return found
}

// surplus finds the finished pods beyond the threshold, oldest first.
func surplus(pods []*corev1.Pod, threshold int) []*corev1.Pod {
	var ended []*corev1.Pod
	for _, pod := range pods {
		if finished(pod) && pod.DeletionTimestamp == nil {
			ended = append(ended, pod)
		}
	}
	if len(ended) <= threshold {
		return nil
	}
	slices.SortFunc(ended, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return ended[:len(ended)-threshold]
}
