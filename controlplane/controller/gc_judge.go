package controller

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

// ownerState is what became of the owner that a reference names.
type ownerState int

const (
	// ownerLives also stands for owners that cannot be judged: a kind that is not served, a namespaced owner of an
	// object without namespace. What is not understood is kept.
	ownerLives ownerState = iota
	// ownerWaits is being deleted in the foreground.
	ownerWaits
	// ownerGone was verified by a fresh read.
	ownerGone
)

// judge deletes a dependent none of whose owners lives, and takes references to dead owners off one that still has
// another.
func (c *garbageCollector) judge(ctx context.Context, obj api.Object) error {
	states := make(map[types.UID]ownerState)
	var lives, waits, gone int
	for _, ref := range obj.GetOwnerReferences() {
		state, err := c.stateOf(ctx, ref, obj.GetNamespace())
		if err != nil {
			return err
		}
		states[ref.UID] = state
		switch state {
		case ownerLives:
			lives++
		case ownerWaits:
			waits++
		case ownerGone:
			gone++
		}
	}
	switch {
	case waits+gone == 0:
		return nil
	case lives > 0:
		return c.dropOwners(ctx, obj, func(ref metav1.OwnerReference) bool { return states[ref.UID] != ownerLives })
	}
	return c.remove(ctx, obj, c.policy(obj, waits > 0))
}

// policy is how a dependent is deleted: as its own finalizers ask; else in the foreground when an owner waits for it
// and it has dependents of its own. In a ring of owners one has to go without waiting, or none ever would.
func (c *garbageCollector) policy(obj api.Object, ownerWaits bool) metav1.DeletionPropagation {
	switch {
	case hasFinalizer(obj, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case hasFinalizer(obj, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	case !ownerWaits:
		return metav1.DeletePropagationBackground
	}
	policy := metav1.DeletePropagationBackground
	for _, key := range c.graph.of(obj.GetUID()) {
		dependent, ok := lookup[api.Object](c.indexer(key.gvr), key.NamespacedName)
		if !ok {
			continue
		}
		if waitsForDependents(dependent) {
			return metav1.DeletePropagationBackground
		}
		policy = metav1.DeletePropagationForeground
	}
	return policy
}

// remove deletes exactly the object that was judged: a change since then, of its owners for instance, is a conflict
// and has it judged again.
func (c *garbageCollector) remove(ctx context.Context, obj api.Object, policy metav1.DeletionPropagation) error {
	err := c.env.Client.Delete(ctx, named(obj), metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{
			UID: ptr.To(obj.GetUID()), ResourceVersion: ptr.To(obj.GetResourceVersion()),
		},
		PropagationPolicy: &policy,
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete without owner: %w", err)
	}
	return nil
}

// stateOf tells what became of an owner: from the cache when it is there, from the API when it is not.
func (c *garbageCollector) stateOf(ctx context.Context, ref metav1.OwnerReference, namespace string) (ownerState, error) {
	if owner, _, ok := c.cached(ref, namespace); ok {
		return liveState(owner), nil
	}
	info, ok := c.kindOf(ref)
	if !ok || info.Namespaced && namespace == "" {
		return ownerLives, nil
	}
	key := types.NamespacedName{Name: ref.Name}
	if info.Namespaced {
		key.Namespace = namespace
	}
	id := goneOwner{gk: info.GVK.GroupKind().String(), key: key, uid: ref.UID}
	if c.gone.has(id) {
		return ownerGone, nil
	}
	query, err := c.env.empty(info.GVK, key)
	if err != nil {
		return ownerLives, err
	}
	owner, err := c.env.Client.Get(ctx, query)
	switch {
	case apierrors.IsNotFound(err), err == nil && owner.GetUID() != ref.UID:
		c.gone.add(id)
		return ownerGone, nil
	case err != nil:
		return ownerLives, fmt.Errorf("read owner %s %s: %w", ref.Kind, ref.Name, err)
	}
	return liveState(owner), nil
}

func liveState(owner api.Object) ownerState {
	if waitsForDependents(owner) {
		return ownerWaits
	}
	return ownerLives
}

// goneOwner names an owner that does not exist. All of it counts: a reference with the right UID and another name
// says nothing about the owner of that name.
type goneOwner struct {
	gk  string
	key types.NamespacedName
	uid types.UID
}

// goneOwners remembers owners known to be gone. A UID never comes back.
type goneOwners struct {
	mu  sync.Mutex
	set map[goneOwner]struct{}
}

func newGoneOwners() *goneOwners { return &goneOwners{set: make(map[goneOwner]struct{})} }

func (g *goneOwners) has(id goneOwner) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.set[id]
	return ok
}

func (g *goneOwners) add(id goneOwner) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.set) >= maxKnownGone {
		clear(g.set)
	}
	g.set[id] = struct{}{}
}
