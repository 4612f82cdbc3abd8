package controller

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
)

// claimer decides which objects an owner controls: those that match its selector. What matches and has no
// controller is adopted, what it controls and no longer matches is released.
type claimer[T api.Object] struct {
	env      *env
	owner    api.Object
	kind     schema.GroupVersionKind
	selector labels.Selector
	// prepare, when set, changes an object in the same write that adopts it; undo one that is released.
	prepare, undo func(T)
}

// claim returns the objects that the owner controls after the step. candidates are those it controls already and
// those nobody controls.
func (c *claimer[T]) claim(ctx context.Context, candidates []T) ([]T, error) {
	var claimed []T
	mayAdopt := false // checked once, before the first adoption
	for _, obj := range candidates {
		ref := metav1.GetControllerOfNoCopy(obj)
		matches := c.selector.Matches(labels.Set(obj.GetLabels()))
		switch {
		case ref != nil && ref.UID != c.owner.GetUID():
		case ref != nil && matches:
			claimed = append(claimed, obj)
		case ref != nil:
			if err := c.release(ctx, obj); err != nil {
				return nil, err
			}
		case matches && obj.GetDeletionTimestamp() == nil && c.owner.GetDeletionTimestamp() == nil:
			if !mayAdopt {
				if err := c.ownerLives(ctx); err != nil {
					return nil, err
				}
				mayAdopt = true
			}
			adopted, err := c.adopt(ctx, obj)
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			claimed = append(claimed, adopted)
		}
	}
	return claimed, nil
}

// ownerLives reads the owner afresh: adopting for an owner that is gone would hand the object to the garbage
// collector.
func (c *claimer[T]) ownerLives(ctx context.Context) error {
	fresh, err := c.env.Client.Get(ctx, named(c.owner))
	if err != nil {
		return fmt.Errorf("adopt for %s: %w", c.owner.GetName(), err)
	}
	if fresh.GetUID() != c.owner.GetUID() || fresh.GetDeletionTimestamp() != nil {
		return fmt.Errorf("adopt for %s: the owner is gone or going", c.owner.GetName())
	}
	return nil
}

func (c *claimer[T]) adopt(ctx context.Context, obj T) (T, error) {
	changed := obj.DeepCopyObject().(T)
	changed.SetOwnerReferences(append(changed.GetOwnerReferences(), *metav1.NewControllerRef(c.owner, c.kind)))
	if c.prepare != nil {
		c.prepare(changed)
	}
	stored, err := c.env.Client.Update(ctx, changed)
	if err != nil {
		return obj, fmt.Errorf("adopt %s: %w", obj.GetName(), err)
	}
	return stored.(T), nil
}

func (c *claimer[T]) release(ctx context.Context, obj T) error {
	changed := obj.DeepCopyObject().(T)
	changed.SetOwnerReferences(withoutOwner(obj.GetOwnerReferences(), c.owner.GetUID()))
	if c.undo != nil {
		c.undo(changed)
	}
	if _, err := c.env.Client.Update(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("release %s: %w", obj.GetName(), err)
	}
	return nil
}

// withoutOwner returns refs without those to owner.
func withoutOwner(refs []metav1.OwnerReference, owner types.UID) []metav1.OwnerReference {
	var kept []metav1.OwnerReference
	for _, ref := range refs {
		if ref.UID != owner {
			kept = append(kept, ref)
		}
	}
	return kept
}
