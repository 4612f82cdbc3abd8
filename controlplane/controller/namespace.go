package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

const (
	// namespaceWorkers is how many namespaces are emptied at once.
	namespaceWorkers = 2
	// namespaceSettle is how long a namespace must have been seen empty before it goes. Whoever checked that the
	// namespace takes objects a moment before it was marked may still be writing one. Stored times are whole seconds:
	// at least half a second of it is left.
	namespaceSettle = 1500 * time.Millisecond
	// firstNamespacePoll and lastNamespacePoll bound how often a namespace that is being emptied is looked at: often
	// at first, seldom when something has kept it for long.
	firstNamespacePoll = 100 * time.Millisecond
	lastNamespacePoll  = 15 * time.Second
)

// namespaces empties namespaces that are being deleted and lets them go.
type namespaces struct {
	*loop[types.NamespacedName]
	objects cache.Indexer
	// contents are the namespaced resources, pods first.
	contents []content
}

// content is one namespaced resource and its cache.
type content struct {
	info    api.ResourceInfo
	indexer cache.Indexer
}

func newNamespaces(e *env) (controller, error) {
	c := &namespaces{objects: e.indexer(namespacesResource)}
	also := []content{}
	for _, info := range e.Informers.Resources() {
		if !info.Namespaced {
			continue
		}
		err := e.addIndexers(info.GVR, cache.Indexers{indexNamespace: cache.MetaNamespaceIndexFunc})
		if err != nil {
			return nil, err
		}
		also = append(also, content{info: info, indexer: e.indexer(info.GVR)})
	}
	// Pods go before all else, and all else waits until they are gone: a pod that still runs needs the Secrets, the
	// policies and the Services it was started with.
	slices.SortStableFunc(also, func(a, b content) int {
		return falseFirst(a.info.GVR != podsResource, b.info.GVR != podsResource)
	})
	c.contents = also
	c.loop = &loop[types.NamespacedName]{
		env: e, title: "namespace", workers: namespaceWorkers, reconcile: c.step,
		sources: []source[types.NamespacedName]{
			{gvr: namespacesResource, handle: c.onNamespace},
		},
	}
	for _, content := range also {
		c.also = append(c.also, content.info.GVR)
	}
	return c, nil
}

func (c *namespaces) onNamespace(ch change) {
	if ch.new != nil && ch.new.GetDeletionTimestamp() != nil {
		c.add(keyOf(ch.new))
	}
}

// step takes a terminating namespace closer to its end.
func (c *namespaces) step(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	ns, ok := lookup[*corev1.Namespace](c.objects, key)
	if !ok || ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return 0, nil
	}
	left := c.empty(ctx, ns.Name)
	now := c.env.now()
	conditions := left.conditions(ns.Status.Conditions, now)
	if err := c.writeStatus(ctx, ns, conditions); err != nil {
		return 0, err
	}
	if left.total() > 0 || len(left.errs) > 0 {
		return pollAfter(now.Sub(ns.DeletionTimestamp.Time)), nil
	}
	if wait := settled(conditions).Add(namespaceSettle).Sub(c.env.Clock.Now()); wait > 0 {
		return wait, nil
	}
	return 0, c.finalize(ctx, ns)
}

// pollAfter grows with how long the namespace has been terminating.
func pollAfter(age time.Duration) time.Duration {
	return min(max(age/10, firstNamespacePoll), lastNamespacePoll)
}

// empty asks everything in the namespace to go, stage by stage, and tells what is left.
func (c *namespaces) empty(ctx context.Context, namespace string) *remains {
	left := newRemains()
	for i, content := range c.contents {
		if i > 0 && c.contents[i-1].info.GVR == podsResource && left.total() > 0 {
			break
		}
		objects := byIndex[api.Object](content.indexer, indexNamespace, namespace)
		_, err := together(0, len(objects), func(j int) error {
			return c.remove(ctx, objects[j])
		})
		left.add(content.info.GVR, objects, err)
	}
	return left
}

// remove asks one object to go.
func (c *namespaces) remove(ctx context.Context, obj api.Object) error {
	if obj.GetDeletionTimestamp() != nil {
		return nil
	}
	err := c.env.Client.Delete(ctx, named(obj), metav1.DeleteOptions{
		Preconditions:     metav1.NewUIDPreconditions(string(obj.GetUID())),
		PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, or replaced: the next look sees which
	}
	return err
}

// writeStatus stores the conditions when something but their times changed.
func (c *namespaces) writeStatus(ctx context.Context, ns *corev1.Namespace, conditions []corev1.NamespaceCondition) error {
	if sameConditions(ns.Status.Conditions, conditions) {
		return nil
	}
	changed := ns.DeepCopy()
	changed.Status.Phase = corev1.NamespaceTerminating
	changed.Status.Conditions = conditions
	if _, err := c.env.Client.UpdateStatus(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update status of namespace: %w", err)
	}
	return nil
}

// finalize lets the namespace go.
func (c *namespaces) finalize(ctx context.Context, ns *corev1.Namespace) error {
	changed := ns.DeepCopy()
	changed.Spec.Finalizers = slices.DeleteFunc(changed.Spec.Finalizers, func(f corev1.FinalizerName) bool {
		return f == corev1.FinalizerKubernetes
	})
	if err := c.env.Client.Finalize(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("finalize namespace: %w", err)
	}
	return nil
}
