package upstream

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Create prepares and validates a new object, whose defaults, name, UID and creation time are set, and answers what
// is to be stored. The object given must not be used afterwards.
func (k *Kind) Create(ctx context.Context, call Call, obj runtime.Object) (runtime.Object, error) {
	internal, err := toInternal(obj, k.gvk.Group)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", k.gvk.Kind, err)
	}
	if err := rest.BeforeCreate(k.main, k.context(ctx, "create", call), internal); err != nil {
		return nil, err
	}
	return k.finish(internal)
}

// finish converts back. Rules may fill in what defaults then derive from (a Job's labels from its template's), and
// what is stored has all defaults, so that nobody has to apply them when reading.
func (k *Kind) finish(internal runtime.Object) (runtime.Object, error) {
	obj, err := toVersion(internal, k.gvk)
	if err != nil {
		return nil, err
	}
	k.Default(obj)
	return obj, nil
}

// Update prepares and validates a change of old into obj through call's subresource and answers what is to be
// stored. Neither object may be used afterwards, except that old's metadata stays as it was.
func (k *Kind) Update(ctx context.Context, call Call, obj, old runtime.Object) (runtime.Object, error) {
	internal, err := toInternal(obj, k.gvk.Group)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", k.gvk.Kind, err)
	}
	internalOld, err := toInternal(old, k.gvk.Group)
	if err != nil {
		return nil, fmt.Errorf("convert stored %s: %w", k.gvk.Kind, err)
	}
	ctx = k.context(ctx, "update", call)
	if err := rest.BeforeUpdate(k.strategy(call.Subresource), ctx, internal, internalOld); err != nil {
		return nil, err
	}
	return k.finish(internal)
}

// BeforeDelete checks opts against obj and, where the kind is deleted gracefully, sets the deletion's time and grace
// period on obj. graceful: obj is to be stored so and removed later by whoever runs it. pending: such a deletion is
// under way already and stands. Neither: the kind knows no grace, or the grace is over.
func (k *Kind) BeforeDelete(ctx context.Context, call Call, obj runtime.Object, opts *metav1.DeleteOptions) (graceful, pending bool, err error) {
	return rest.BeforeDelete(deletion{k}, k.context(ctx, "delete", call), obj, opts)
}

// Orphans tells whether dependents are orphaned where the client did not choose.
func (k *Kind) Orphans(ctx context.Context) bool {
	s, ok := k.main.(rest.GarbageCollectionDeleteStrategy)
	return ok && s.DefaultGarbageCollectionPolicy(k.context(ctx, "delete", Call{})) == rest.OrphanDependents
}

// deletion lets rest.BeforeDelete work on the versioned object: only metadata changes, and the internal form is
// needed just to ask how long the grace is.
type deletion struct{ *Kind }

// ObjectKinds implements runtime.ObjectTyper.
func (d deletion) ObjectKinds(obj runtime.Object) (kinds []schema.GroupVersionKind, unversioned bool, err error) {
	return Scheme().ObjectKinds(obj)
}

// Recognizes implements runtime.ObjectTyper.
func (d deletion) Recognizes(gvk schema.GroupVersionKind) bool { return Scheme().Recognizes(gvk) }

// CheckGracefulDelete implements rest.RESTGracefulDeleteStrategy.
func (d deletion) CheckGracefulDelete(ctx context.Context, obj runtime.Object, opts *metav1.DeleteOptions) bool {
	s, ok := d.main.(rest.RESTGracefulDeleteStrategy)
	if !ok {
		return false
	}
	internal, err := toInternal(obj, d.gvk.Group)
	if err != nil {
		return false
	}
	return s.CheckGracefulDelete(ctx, internal, opts)
}
