package resource

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/petrelrun/petrel/controlplane/store"
)

// errModified is what clients that work optimistically look for.
var errModified = errors.New("the object has been modified; please apply your changes to the latest version and try again")

// Update replaces an object, or a subresource of it. created tells that a PUT made it. The object given belongs to
// the call from then on.
func (r *Registry) Update(ctx context.Context, d *Definition, call Call, obj runtime.Object) (out runtime.Object, created bool, err error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, false, apierrors.NewBadRequest(err.Error())
	}
	obj.GetObjectKind().SetGroupVersionKind(d.GVK)
	if err := matchName(call.Name, m); err != nil {
		return nil, false, err
	}
	if err := matchNamespace(d, call.Namespace, m); err != nil {
		return nil, false, err
	}
	d.Rules.Default(obj)
	version, uid := m.GetResourceVersion(), m.GetUID()
	out, err = r.change(ctx, d, call, func(current runtime.Object) (runtime.Object, error) {
		if err := checkVersion(d, call, current, version, uid); err != nil {
			return nil, err
		}
		return obj.DeepCopyObject(), nil // each round changes what it is given
	})
	if apierrors.IsNotFound(err) && d.Rules.CreateOnUpdate() && call.Subresource == "" && uid == "" && version == "" {
		out, err = r.Create(ctx, d, call, obj)
		return out, err == nil, err
	}
	return out, false, err
}

// next computes what is to be written from what stands. It may keep and change current's parts.
type next func(current runtime.Object) (runtime.Object, error)

// attempt is one round of a change.
type attempt struct {
	obj     runtime.Object
	verdict store.Verdict
	settle  settle
}

// change is the way of every write to an object that exists.
func (r *Registry) change(ctx context.Context, d *Definition, call Call, fn next) (runtime.Object, error) {
	var last *attempt // what was handed to the store; nil when nothing was
	var dry runtime.Object
	out, removed, err := r.store.Update(ctx, d.Stored, call.Namespace, call.Name, store.Preconditions{},
		func(current runtime.Object) (runtime.Object, store.Verdict, error) {
			if last != nil { // its transaction lost a race, which is certain: its claims can go
				last.settle(ctx, nil, errNotWritten)
				last = nil
			}
			obj, err := fn(current)
			if err != nil {
				return nil, store.Keep, err
			}
			a, err := r.prepare(ctx, d, call, obj, current)
			switch {
			case err != nil:
				return nil, store.Keep, err
			case call.DryRun:
				dry = a.obj
				return current, store.Keep, nil
			case a.verdict == store.Keep:
				a.settle(ctx, nil, errNotWritten)
				return current, store.Keep, nil
			}
			last = a
			return a.obj, a.verdict, nil
		})
	if last != nil {
		last.settle(ctx, last.obj, err)
	}
	if err == nil && removed {
		r.services.release(ctx, out)
	}
	if err == nil && dry != nil {
		return dry, nil
	}
	return out, err
}

// prepare takes a changed object through ownership, admission and the kind's rules, and says what to do with it.
func (r *Registry) prepare(ctx context.Context, d *Definition, call Call, obj, current runtime.Object) (*attempt, error) {
	if err := sameRevision(obj, current); err != nil {
		return nil, err
	}
	obj, err := r.managers.updated(d, call, current, obj)
	if err != nil {
		return nil, err
	}
	if err := r.admit(ctx, d, call, obj, current); err != nil {
		return nil, err
	}
	a := &attempt{verdict: store.Put}
	if a.settle, err = r.services.claim(ctx, call, obj, current); err != nil {
		return nil, err
	}
	if a.obj, err = d.Rules.Update(ctx, r.writes(call), obj, current); err != nil {
		a.settle(ctx, nil, errNotWritten)
		return nil, err
	}
	switch {
	case unchanged(a.obj, current):
		a.verdict = store.Keep
	case goesAway(a.obj, current):
		a.verdict = store.Remove
	}
	return a, nil
}

// sameRevision gives a change that names no revision the current one: it is meant for whatever stands.
func sameRevision(obj, current runtime.Object) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	old, err := meta.Accessor(current)
	if err != nil {
		return err
	}
	if m.GetResourceVersion() == "" {
		m.SetResourceVersion(old.GetResourceVersion())
	}
	return nil
}

// goesAway tells whether a change has taken away the last thing that held a deleted object.
func goesAway(obj, current runtime.Object) bool {
	m, err := meta.Accessor(obj)
	if err != nil || m.GetDeletionTimestamp() == nil || len(m.GetFinalizers()) > 0 {
		return false
	}
	if n, ok := obj.(*corev1.Namespace); ok && len(n.Spec.Finalizers) > 0 {
		return false
	}
	old, err := meta.Accessor(current)
	if err != nil {
		return false
	}
	grace := old.GetDeletionGracePeriodSeconds()
	return grace == nil || *grace == 0
}

// checkVersion holds a replacement to the revision and the UID that its sender saw.
func checkVersion(d *Definition, call Call, current runtime.Object, version string, uid types.UID) error {
	m, err := meta.Accessor(current)
	if err != nil {
		return err
	}
	if uid != "" && uid != m.GetUID() {
		return apierrors.NewConflict(d.GR(), call.Name, fmt.Errorf("the object's UID is %s, not %s: it was deleted and made anew", m.GetUID(), uid))
	}
	switch {
	case version == "" && !d.Rules.UnconditionalUpdate():
		return apierrors.NewInvalid(d.GVK.GroupKind(), call.Name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "resourceVersion"), version, "must be specified for an update")})
	case version == "" || version == m.GetResourceVersion():
		return nil
	}
	if _, err := strconv.ParseUint(version, 10, 64); err != nil {
		return apierrors.NewInvalid(d.GVK.GroupKind(), call.Name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "resourceVersion"), version, "must be a number")})
	}
	return apierrors.NewConflict(d.GR(), call.Name, errModified)
}

// checkPreconditions holds a deletion to what its sender saw.
func checkPreconditions(gr schema.GroupResource, obj runtime.Object, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	if p.UID != nil && *p.UID != m.GetUID() {
		return apierrors.NewConflict(gr, m.GetName(), fmt.Errorf("precondition failed: the object's UID is %s, not %s", m.GetUID(), *p.UID))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != m.GetResourceVersion() {
		return apierrors.NewConflict(gr, m.GetName(), fmt.Errorf("precondition failed: the object's resourceVersion is %s, not %s",
			m.GetResourceVersion(), *p.ResourceVersion))
	}
	return nil
}

// matchName holds an object to the name of its URL.
func matchName(name string, m metav1.Object) error {
	switch m.GetName() {
	case "":
		return apierrors.NewBadRequest("the object has no name, but the request is for " + strconv.Quote(name))
	case name:
		return nil
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the object is named %q, but the request is for %q", m.GetName(), name))
}
