package controller

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

// replicaSetWorkers is how many ReplicaSets are worked on at once; each step has its own parallel writes.
const replicaSetWorkers = 4

var replicaSetKind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// replicaSets keeps as many pods of a template as a ReplicaSet asks for.
type replicaSets struct {
	*loop[types.NamespacedName]
	sets, pods cache.Indexer
	ledger     *ledger
}

func newReplicaSets(e *env) (controller, error) {
	if err := e.addIndexers(podsResource, cache.Indexers{indexController: byController}); err != nil {
		return nil, err
	}
	if err := e.addIndexers(replicaSetsResource, cache.Indexers{indexNamespace: cache.MetaNamespaceIndexFunc}); err != nil {
		return nil, err
	}
	c := &replicaSets{
		sets: e.indexer(replicaSetsResource), pods: e.indexer(podsResource), ledger: newLedger(),
	}
	c.loop = &loop[types.NamespacedName]{
		env: e, title: "replicaset", workers: replicaSetWorkers, reconcile: c.step,
		sources: []source[types.NamespacedName]{
			{gvr: replicaSetsResource, handle: c.onReplicaSet},
			{gvr: podsResource, handle: c.onPod},
		},
	}
	return c, nil
}

func (c *replicaSets) onReplicaSet(ch change) {
	if ch.new == nil {
		c.ledger.forget(ch.old.GetUID())
	}
	c.add(keyOf(ch.object()))
}

func (c *replicaSets) onPod(ch change) {
	c.ledger.observe(ch)
	for _, pod := range []api.Object{ch.old, ch.new} {
		if pod == nil {
			continue
		}
		ref := metav1.GetControllerOfNoCopy(pod)
		if ref != nil && ref.Kind == replicaSetKind.Kind {
			c.addBatched(types.NamespacedName{Namespace: pod.GetNamespace(), Name: ref.Name})
		}
	}
	if ch.new != nil && metav1.GetControllerOfNoCopy(ch.new) == nil {
		c.wakeAdopters(ch.new)
	}
}

// wakeAdopters has the ReplicaSets looked at that may want a pod without a controller.
func (c *replicaSets) wakeAdopters(pod api.Object) {
	if len(pod.GetLabels()) == 0 || pod.GetDeletionTimestamp() != nil {
		return
	}
	for _, rs := range byIndex[*appsv1.ReplicaSet](c.sets, indexNamespace, pod.GetNamespace()) {
		selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.GetLabels())) {
			c.add(keyOf(rs))
		}
	}
}

// step brings one ReplicaSet's pods to the wanted number and writes its status.
func (c *replicaSets) step(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	rs, ok := lookup[*appsv1.ReplicaSet](c.sets, key)
	if !ok {
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil || selector.Empty() {
		return 0, nil // the API lets no such object in; nothing to try again
	}
	v := c.ledger.look(rs.UID, c.env.Clock.Now(), func() []*corev1.Pod {
		return byIndex[*corev1.Pod](c.pods, indexController, string(rs.UID))
	})
	if err := c.ledger.confirm(ctx, c.env, rs.UID, v); err != nil {
		return 0, fmt.Errorf("confirm pods: %w", err)
	}
	claim := claimer[*corev1.Pod]{env: c.env, owner: rs, kind: replicaSetKind, selector: selector}
	candidates := append(v.pods, byIndex[*corev1.Pod](c.pods, indexController, orphansOf(rs.Namespace))...)
	if v.pods, err = claim.claim(ctx, candidates); err != nil {
		return 0, err
	}
	var more bool
	var failure error
	var reason string
	if rs.DeletionTimestamp == nil {
		more, reason, failure = c.manage(ctx, rs, v)
	}
	status, wait := replicaSetStatus(rs, v, failure, reason, c.env.now())
	if err := c.writeStatus(ctx, rs, status); err != nil {
		return 0, err
	}
	return c.again(v, wait, more), failure
}

// again tells when to come again though nothing changes: for the rest of a burst, for a pod that turns available,
// for a pod that the cache should have shown.
func (c *replicaSets) again(v *view, wait time.Duration, more bool) time.Duration {
	switch {
	case more:
		return time.Millisecond
	case v.unseen && (wait == 0 || wait > ledgerPatience):
		return ledgerPatience + time.Millisecond
	}
	return wait
}

// manage creates or deletes pods. It changes v to show what it did, so that the status tells of it at once.
func (c *replicaSets) manage(ctx context.Context, rs *appsv1.ReplicaSet, v *view) (more bool, reason string, err error) {
	var active []*corev1.Pod
	for _, pod := range v.pods {
		if !finished(pod) && !v.terminating(pod) {
			active = append(active, pod)
		}
	}
	want := int(ptr.Deref(rs.Spec.Replicas, 1))
	if missing := want - len(active); missing > 0 {
		made, err := c.createPods(ctx, rs, min(missing, maxBurst))
		v.pods = append(v.pods, made...)
		v.unseen = v.unseen || len(made) > 0
		return err == nil && missing > maxBurst, reasonFailedCreate, ignoreTerminating(err)
	}
	excess := len(active) - want
	if excess == 0 {
		return false, "", nil
	}
	victims := rankForDeletion(active)[:min(excess, maxBurst)]
	err = c.deletePods(ctx, rs, v, victims)
	return err == nil && excess > maxBurst, reasonFailedDelete, err
}

func ignoreTerminating(err error) error {
	if namespaceTerminating(err) {
		return nil
	}
	return err
}

func (c *replicaSets) createPods(ctx context.Context, rs *appsv1.ReplicaSet, count int) ([]*corev1.Pod, error) {
	made := make([]*corev1.Pod, count)
	_, err := slowStart(count, func(i int) error {
		pod := podFrom(&rs.Spec.Template, rs, replicaSetKind)
		c.ledger.creating(rs.UID)
		stored, err := c.env.Client.Create(ctx, pod)
		if err != nil {
			c.ledger.notCreated(rs.UID)
			if !namespaceTerminating(err) {
				c.env.warn(rs, reasonFailedCreate, "Error creating: %v", err)
			}
			return fmt.Errorf("create pod: %w", err)
		}
		made[i] = stored.(*corev1.Pod)
		c.ledger.created(rs.UID, made[i], c.env.Clock.Now())
		c.env.event(rs, reasonSuccessfulCreate, "Created pod: %s", made[i].Name)
		return nil
	})
	created := made[:0]
	for _, pod := range made {
		if pod != nil {
			created = append(created, pod)
		}
	}
	return created, err
}

func (c *replicaSets) deletePods(ctx context.Context, rs *appsv1.ReplicaSet, v *view, victims []*corev1.Pod) error {
	gone := make([]bool, len(victims))
	_, err := together(0, len(victims), func(i int) error {
		pod := victims[i]
		opts := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))}
		err := c.env.Client.Delete(ctx, named(pod), opts)
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			// Already gone, or another pod of that name: this one is not there to delete.
		case err != nil:
			c.env.warn(rs, reasonFailedDelete, "Error deleting: %v", err)
			return fmt.Errorf("delete pod: %w", err)
		default:
			c.env.event(rs, reasonSuccessfulDelete, "Deleted pod: %s", pod.Name)
		}
		c.ledger.deleted(rs.UID, pod.UID, c.env.Clock.Now())
		gone[i] = true
		return nil
	})
	for i, pod := range victims {
		if gone[i] {
			v.leaving[pod.UID] = struct{}{}
		}
	}
	return err
}
