package controller

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
)

const (
	// gcWorkers is how many objects are looked at at once; each costs at most a read and a write.
	gcWorkers = 8
	// orphanSettle is how long after its deletion an object's dependents are let go: one that was made a moment
	// before may not be in the caches yet and would be deleted for want of an owner.
	orphanSettle = 1500 * time.Millisecond
	// maxKnownGone bounds the memory of owners that are known to be gone; it is cleared when full. A thousand pods of
	// one deleted owner then cost one fresh read, not a thousand.
	maxKnownGone = 8192
)

// garbageCollector deletes what is left without an owner, and carries out foreground and orphaning deletion.
type garbageCollector struct {
	*loop[gcKey]
	graph *ownerGraph
	kinds map[schema.GroupKind]api.ResourceInfo
	gone  *goneOwners
}

func newGarbageCollector(e *env) (controller, error) {
	c := &garbageCollector{
		graph: newOwnerGraph(), kinds: make(map[schema.GroupKind]api.ResourceInfo), gone: newGoneOwners(),
	}
	c.loop = &loop[gcKey]{env: e, title: "garbage collector", workers: gcWorkers, reconcile: c.step}
	for _, info := range e.Informers.Resources() {
		if info.GVK.Kind == "Event" {
			continue // there are many, they have no owners and own nothing
		}
		c.kinds[info.GVK.GroupKind()] = info
		c.sources = append(c.sources, source[gcKey]{gvr: info.GVR, handle: func(ch change) { c.onChange(info, ch) }})
	}
	return c, nil
}

func gcKeyOf(info api.ResourceInfo, obj api.Object) gcKey {
	return gcKey{gvr: info.GVR, NamespacedName: keyOf(obj), uid: obj.GetUID()}
}

func (c *garbageCollector) onChange(info api.ResourceInfo, ch change) {
	if ch.old != nil && ch.new != nil && ch.old.GetUID() != ch.new.GetUID() {
		// The informer missed that one went and another of that name came.
		c.onChange(info, change{old: ch.old})
		c.onChange(info, change{new: ch.new})
		return
	}
	var before, after []metav1.OwnerReference
	if ch.old != nil {
		before = ch.old.GetOwnerReferences()
	}
	if ch.new != nil {
		after = ch.new.GetOwnerReferences()
	}
	key := gcKeyOf(info, ch.object())
	moved := !equality.Semantic.DeepEqual(before, after)
	if moved {
		c.graph.update(key, before, after)
	}
	switch {
	case ch.new == nil:
		for _, dependent := range c.graph.of(key.uid) {
			c.add(dependent)
		}
	case moved && len(after) > 0, waitsForDependents(ch.new), orphansDependents(ch.new):
		c.add(key)
	}
	if moved && ch.old != nil {
		c.wakeOwners(ch.old)
	}
}

// wakeOwners has the owners looked at that may have waited for obj to go.
func (c *garbageCollector) wakeOwners(obj api.Object) {
	for _, ref := range obj.GetOwnerReferences() {
		if owner, info, ok := c.cached(ref, obj.GetNamespace()); ok && waitsForDependents(owner) {
			c.add(gcKeyOf(info, owner))
		}
	}
}

// kindOf finds the resource that a reference means. The version is left out of account: the kind is the same object
// in each.
func (c *garbageCollector) kindOf(ref metav1.OwnerReference) (api.ResourceInfo, bool) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return api.ResourceInfo{}, false
	}
	info, ok := c.kinds[schema.GroupKind{Group: gv.Group, Kind: ref.Kind}]
	return info, ok
}

// cached finds the owner that a reference means in the caches.
func (c *garbageCollector) cached(ref metav1.OwnerReference, namespace string) (api.Object, api.ResourceInfo, bool) {
	info, ok := c.kindOf(ref)
	if !ok {
		return nil, info, false
	}
	key := types.NamespacedName{Name: ref.Name}
	if info.Namespaced {
		key.Namespace = namespace
	}
	owner, ok := lookup[api.Object](c.indexer(info.GVR), key)
	if !ok || owner.GetUID() != ref.UID {
		return nil, info, false
	}
	return owner, info, true
}

func (c *garbageCollector) indexer(gvr schema.GroupVersionResource) cache.Indexer {
	return c.env.indexer(gvr)
}

// step looks at one object: as an owner that is being deleted, or as a dependent.
func (c *garbageCollector) step(ctx context.Context, key gcKey) (time.Duration, error) {
	obj, ok := lookup[api.Object](c.indexer(key.gvr), key.NamespacedName)
	if !ok || obj.GetUID() != key.uid {
		return 0, nil
	}
	switch {
	case orphansDependents(obj):
		if wait := orphanSettle - c.env.Clock.Since(obj.GetDeletionTimestamp().Time); wait > 0 {
			return wait, nil
		}
		return 0, c.orphan(ctx, obj)
	case waitsForDependents(obj):
		return 0, c.foreground(ctx, obj)
	case obj.GetDeletionTimestamp() != nil:
		return 0, nil
	}
	return 0, c.judge(ctx, obj)
}

// foreground has the dependents of an owner deleted and lets it go when none is left that blocks it.
func (c *garbageCollector) foreground(ctx context.Context, owner api.Object) error {
	blocked := false
	for _, key := range c.graph.of(owner.GetUID()) {
		dependent, ok := lookup[api.Object](c.indexer(key.gvr), key.NamespacedName)
		if !ok || dependent.GetUID() != key.uid {
			continue
		}
		if dependent.GetDeletionTimestamp() == nil {
			c.add(key)
		}
		blocked = blocked || blocks(dependent, owner.GetUID())
	}
	if blocked {
		return nil
	}
	return c.dropFinalizer(ctx, owner, metav1.FinalizerDeleteDependents)
}

// orphan takes the owner's reference off its dependents and lets it go.
func (c *garbageCollector) orphan(ctx context.Context, owner api.Object) error {
	keys := c.graph.of(owner.GetUID())
	_, err := together(0, len(keys), func(i int) error {
		dependent, ok := lookup[api.Object](c.indexer(keys[i].gvr), keys[i].NamespacedName)
		if !ok || dependent.GetUID() != keys[i].uid {
			return nil
		}
		return c.dropOwners(ctx, dependent, func(ref metav1.OwnerReference) bool { return ref.UID == owner.GetUID() })
	})
	if err != nil {
		return err
	}
	return c.dropFinalizer(ctx, owner, metav1.FinalizerOrphanDependents)
}

func (c *garbageCollector) dropFinalizer(ctx context.Context, obj api.Object, finalizer string) error {
	if _, err := c.env.Client.Update(ctx, withoutFinalizer(obj, finalizer)); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove finalizer %s: %w", finalizer, err)
	}
	return nil
}

func (c *garbageCollector) dropOwners(ctx context.Context, obj api.Object, drop func(metav1.OwnerReference) bool) error {
	var kept []metav1.OwnerReference
	for _, ref := range obj.GetOwnerReferences() {
		if !drop(ref) {
			kept = append(kept, ref)
		}
	}
	changed := obj.DeepCopyObject().(api.Object)
	changed.SetOwnerReferences(kept)
	if _, err := c.env.Client.Update(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove owner references: %w", err)
	}
	return nil
}
