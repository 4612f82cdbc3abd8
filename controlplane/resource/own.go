package resource

import (
	"context"
	"fmt"
	"reflect"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/upstream"
)

// ownRules are the rules of Petrel's own kinds, which have no strategy upstream: the conventions for spec, status
// and generation, and the validation that the types bring along.
type ownRules struct{ info api.ResourceInfo }

// New implements Rules.
func (o *ownRules) New() runtime.Object {
	obj, err := upstream.Scheme().New(o.info.GVK)
	if err != nil {
		panic(err) // a resource of package api that AddToScheme does not register
	}
	obj.GetObjectKind().SetGroupVersionKind(o.info.GVK)
	return obj
}

// Default implements Rules.
func (o *ownRules) Default(obj runtime.Object) { upstream.Scheme().Default(obj) }

// Create implements Rules: the status is the owner's to write, so it starts empty.
func (o *ownRules) Create(_ context.Context, call upstream.Call, obj runtime.Object) (runtime.Object, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	if s := part(obj, "Status"); s.IsValid() {
		s.SetZero()
	}
	m.SetGeneration(1)
	return o.checked(obj, m.GetName(), validateOwn(obj))
}

// Update implements Rules: the object itself keeps its status, the status subresource keeps everything else.
func (o *ownRules) Update(_ context.Context, call upstream.Call, obj, old runtime.Object) (runtime.Object, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	om, err := meta.Accessor(old)
	if err != nil {
		return nil, err
	}
	m.SetGeneration(om.GetGeneration())
	kept := "Status"
	if call.Subresource == upstream.Status {
		kept = "Spec"
	}
	if s := part(obj, kept); s.IsValid() {
		s.Set(part(old, kept))
	}
	if !apiequality.Semantic.DeepEqual(part(obj, "Spec").Interface(), part(old, "Spec").Interface()) {
		m.SetGeneration(om.GetGeneration() + 1)
	}
	keepIdentity(m, om)
	return o.checked(obj, m.GetName(), validateOwnUpdate(call.Subresource, obj, old))
}

func validateOwn(obj runtime.Object) field.ErrorList {
	switch obj := obj.(type) {
	case *api.App:
		return api.ValidateApp(obj)
	case *api.Revision:
		return api.ValidateRevision(obj)
	}
	return field.ErrorList{field.InternalError(nil, fmt.Errorf("no validation for %T", obj))}
}

func validateOwnUpdate(subresource string, obj, old runtime.Object) field.ErrorList {
	switch obj := obj.(type) {
	case *api.App:
		if subresource == upstream.Status {
			return api.ValidateAppStatusUpdate(obj, old.(*api.App))
		}
		return api.ValidateAppUpdate(obj, old.(*api.App))
	case *api.Revision:
		return api.ValidateRevisionUpdate(obj, old.(*api.Revision))
	}
	return field.ErrorList{field.InternalError(nil, fmt.Errorf("no validation for %T", obj))}
}

// keepIdentity carries over what no update changes.
func keepIdentity(m, old metav1.Object) {
	if m.GetUID() == "" {
		m.SetUID(old.GetUID())
	}
	m.SetCreationTimestamp(old.GetCreationTimestamp())
	if old.GetDeletionTimestamp() != nil {
		m.SetDeletionTimestamp(old.GetDeletionTimestamp())
	}
	if m.GetDeletionGracePeriodSeconds() == nil {
		m.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	}
}

func (o *ownRules) checked(obj runtime.Object, name string, errs field.ErrorList) (runtime.Object, error) {
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(o.info.GVK.GroupKind(), name, errs)
	}
	obj.GetObjectKind().SetGroupVersionKind(o.info.GVK)
	return obj, nil
}

// part is the field of a kind's struct with that name, invalid where there is none.
func part(obj runtime.Object, name string) reflect.Value {
	return reflect.ValueOf(obj).Elem().FieldByName(name)
}

// BeforeDelete implements Rules: no grace.
func (o *ownRules) BeforeDelete(_ context.Context, _ upstream.Call, obj runtime.Object, opts *metav1.DeleteOptions) (graceful, pending bool, err error) {
	if errs := metav1validation.ValidateDeleteOptions(opts); len(errs) > 0 {
		return false, false, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("DeleteOptions").GroupKind(), "", errs)
	}
	return false, false, checkPreconditions(o.info.GVR.GroupResource(), obj, opts.Preconditions)
}

// Orphans implements Rules.
func (o *ownRules) Orphans(context.Context) bool { return false }

// CreateOnUpdate implements Rules.
func (o *ownRules) CreateOnUpdate() bool { return false }

// UnconditionalUpdate implements Rules.
func (o *ownRules) UnconditionalUpdate() bool { return true }

// ResetFields implements Rules.
func (o *ownRules) ResetFields(subresource string) map[fieldpath.APIVersion]*fieldpath.Set {
	reset := "status"
	if subresource == upstream.Status {
		reset = "spec"
	}
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(o.info.GVK.GroupVersion().String()): fieldpath.NewSet(fieldpath.MakePathOrDie(reset)),
	}
}

// Fields implements Rules.
func (o *ownRules) Fields(runtime.Object) fields.Set { return nil }

// Selectable implements Rules.
func (o *ownRules) Selectable() []string { return nil }

// Columns implements Rules.
func (o *ownRules) Columns() ([]metav1.TableColumnDefinition, error) {
	var defs []metav1.TableColumnDefinition
	for _, c := range api.Columns(o.info.GVK.Kind) {
		defs = append(defs, c.TableColumnDefinition)
	}
	return defs, nil
}

// Cells implements Rules. An age is the one cell that depends on when it is printed.
func (o *ownRules) Cells(obj runtime.Object) ([]any, []metav1.TableRowCondition, error) {
	var cells []any
	now := time.Now()
	for _, c := range api.Columns(o.info.GVK.Kind) {
		cells = append(cells, c.Cell(obj, now))
	}
	return cells, nil, nil
}
