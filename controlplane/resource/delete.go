package resource

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/petrelrun/petrel/controlplane/store"
)

// Delete removes an object, or marks it for those who have to finish first: finalizers, and the node of a pod.
// removed tells which; out is the object's last or marked state.
func (r *Registry) Delete(ctx context.Context, d *Definition, call Call, opts metav1.DeleteOptions) (out runtime.Object, removed bool, err error) {
	if err := r.mayDelete(d, call); err != nil {
		return nil, false, err
	}
	var dry runtime.Object
	var dryRemoved bool
	out, removed, err = r.store.Update(ctx, d.Stored, call.Namespace, call.Name, store.Preconditions{},
		func(current runtime.Object) (runtime.Object, store.Verdict, error) {
			if err := r.admit(ctx, d, call, nil, current); err != nil {
				return nil, store.Keep, err
			}
			verdict, err := r.markDeleted(ctx, d, call, current, *opts.DeepCopy())
			if err == nil && call.DryRun {
				dry, dryRemoved = current, verdict == store.Remove
				return current, store.Keep, nil
			}
			return current, verdict, err
		})
	if err != nil {
		return nil, false, err
	}
	if call.DryRun {
		return dry, dryRemoved, nil
	}
	if removed {
		r.services.release(ctx, out)
	}
	if d == namespaces() {
		// Creates look at the cache for whether their namespace takes new objects; from here on it says no.
		if _, err := r.store.Get(ctx, d.Stored, "", call.Name, true); err != nil && !apierrors.IsNotFound(err) {
			return nil, false, err
		}
	}
	return out, removed, nil
}

// mayDelete keeps the namespaces that the system itself lives in.
func (r *Registry) mayDelete(d *Definition, call Call) error {
	if d == namespaces() && slices.Contains(systemNamespaces, call.Name) {
		return apierrors.NewForbidden(d.GR(), call.Name, fmt.Errorf("this namespace may not be deleted"))
	}
	return nil
}

// markDeleted changes obj as the deletion wants it and says whether it stays for a while.
func (r *Registry) markDeleted(ctx context.Context, d *Definition, call Call, obj runtime.Object, opts metav1.DeleteOptions) (store.Verdict, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return store.Keep, err
	}
	before := obj.DeepCopyObject()
	graceful, pending, err := d.Rules.BeforeDelete(ctx, call.rules(), obj, &opts)
	if err != nil {
		return store.Keep, err
	}
	if pending {
		return store.Keep, nil
	}
	m.SetFinalizers(propagation(m.GetFinalizers(), &opts, d.Rules.Orphans(ctx)))
	held := len(m.GetFinalizers()) > 0
	if n, ok := obj.(*corev1.Namespace); ok && len(n.Spec.Finalizers) > 0 {
		n.Status.Phase, held = corev1.NamespaceTerminating, true
	}
	switch {
	case graceful && (held || *opts.GracePeriodSeconds > 0):
	case held:
		r.markNow(m)
	default:
		return store.Remove, nil
	}
	if unchanged(obj, before) {
		return store.Keep, nil
	}
	return store.Put, nil
}

// markNow marks an object of a kind without grace.
func (r *Registry) markNow(m metav1.Object) {
	now := r.now()
	at := m.GetDeletionTimestamp()
	if at == nil && m.GetGeneration() > 0 {
		m.SetGeneration(m.GetGeneration() + 1)
	}
	if at == nil || at.After(now.Time) {
		m.SetDeletionTimestamp(&now)
	}
	m.SetDeletionGracePeriodSeconds(new(int64))
}

// propagation gives the finalizers that carry out what the client wants done with the dependents; where it does not
// say, an earlier choice stands, and without one the kind's default.
func propagation(finalizers []string, opts *metav1.DeleteOptions, orphanByDefault bool) []string {
	earlier := ""
	kept := slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool {
		if f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents {
			earlier = f
			return true
		}
		return false
	})
	choice := earlier
	switch {
	case opts.OrphanDependents != nil && *opts.OrphanDependents:
		choice = metav1.FinalizerOrphanDependents
	case opts.OrphanDependents != nil:
		choice = ""
	case opts.PropagationPolicy != nil:
		choice = map[metav1.DeletionPropagation]string{
			metav1.DeletePropagationOrphan:     metav1.FinalizerOrphanDependents,
			metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents,
		}[*opts.PropagationPolicy]
	case earlier == "" && orphanByDefault:
		choice = metav1.FinalizerOrphanDependents
	}
	if choice != "" {
		kept = append(kept, choice)
	}
	return kept
}

// DeleteCollection deletes everything that opts selects and answers what it deleted, as it was before.
func (r *Registry) DeleteCollection(ctx context.Context, d *Definition, call Call, list store.ListOptions, opts metav1.DeleteOptions) ([]*store.Entry, error) {
	var deleted []*store.Entry
	list.Fresh, list.Limit, list.Continue = true, deleteCollectionPage, ""
	for {
		page, err := r.store.List(ctx, d.Stored, list)
		if err != nil {
			return deleted, err
		}
		for _, entry := range page.Entries {
			one := call
			one.Namespace, one.Name = entry.Namespace, entry.Name
			if _, _, err := r.Delete(ctx, d, one, opts); err != nil && !apierrors.IsNotFound(err) {
				return deleted, err
			}
			deleted = append(deleted, entry)
		}
		if page.Continue == "" {
			return deleted, nil
		}
		list = store.ListOptions{Query: list.Query, Limit: deleteCollectionPage, Continue: page.Continue}
	}
}
