package resource

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Create makes an object. The object given belongs to the call from then on.
func (r *Registry) Create(ctx context.Context, d *Definition, call Call, obj runtime.Object) (runtime.Object, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	obj.GetObjectKind().SetGroupVersionKind(d.GVK)
	if err := matchNamespace(d, call.Namespace, m); err != nil {
		return nil, err
	}
	if m.GetResourceVersion() != "" {
		return nil, apierrors.NewBadRequest("resourceVersion must not be set on an object that is to be created")
	}
	if m.GetName() != "" || m.GetGenerateName() == "" {
		return r.createNamed(ctx, d, call, obj)
	}
	for try := 1; ; try++ {
		attempt := obj
		if try < MaxGenerateNameTries {
			attempt = obj.DeepCopyObject()
		}
		am, err := meta.Accessor(attempt)
		if err != nil {
			return nil, err
		}
		am.SetName(generateName(m.GetGenerateName()))
		out, err := r.createNamed(ctx, d, call, attempt)
		if !apierrors.IsAlreadyExists(err) {
			return out, err
		}
		if try == MaxGenerateNameTries {
			return nil, apierrors.NewGenerateNameConflict(d.GR(), am.GetName(), 1)
		}
	}
}

func generateName(base string) string {
	if len(base) > maxGeneratedBase {
		base = base[:maxGeneratedBase]
	}
	return base + rand.String(generatedLength)
}

func (r *Registry) createNamed(ctx context.Context, d *Definition, call Call, obj runtime.Object) (runtime.Object, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	if m.GetName() == "" {
		return nil, apierrors.NewInvalid(d.GVK.GroupKind(), "", field.ErrorList{
			field.Required(field.NewPath("metadata", "name"), "name or generateName is required")})
	}
	call.Name = m.GetName()
	if err := r.checkNamespace(ctx, d, call); err != nil {
		return nil, err
	}
	r.setIdentity(m)
	d.Rules.Default(obj)
	if err := r.admit(ctx, d, call, obj, nil); err != nil {
		return nil, err
	}
	if obj, err = r.managers.created(d, call, r.now(), obj); err != nil {
		return nil, err
	}
	if err := r.admitRuntime(ctx, d, call, obj); err != nil {
		return nil, err
	}
	settle, err := r.services.claim(ctx, call, obj, nil)
	if err != nil {
		return nil, err
	}
	if obj, err = d.Rules.Create(ctx, r.writes(call), obj); err != nil {
		settle(ctx, nil, errNotWritten)
		return nil, err
	}
	if call.DryRun {
		return r.dryCreate(ctx, d, call, obj)
	}
	out, err := r.store.Create(ctx, d.Stored, obj)
	settle(ctx, out, err)
	return out, err
}

// dryCreate answers what would have been created, unless the name is taken.
func (r *Registry) dryCreate(ctx context.Context, d *Definition, call Call, obj runtime.Object) (runtime.Object, error) {
	_, err := r.store.Get(ctx, d.Stored, call.Namespace, call.Name, true)
	switch {
	case err == nil:
		return nil, apierrors.NewAlreadyExists(d.GR(), call.Name)
	case !apierrors.IsNotFound(err):
		return nil, err
	}
	return obj, nil
}

// setIdentity sets what only the server sets.
func (r *Registry) setIdentity(m metav1.Object) {
	m.SetUID(uuid.NewUUID())
	m.SetCreationTimestamp(r.now())
	m.SetDeletionTimestamp(nil)
	m.SetDeletionGracePeriodSeconds(nil)
	m.SetSelfLink("")
	m.SetGeneration(0)
}

// matchNamespace holds an object to the namespace of its URL.
func matchNamespace(d *Definition, namespace string, m metav1.Object) error {
	switch {
	case !d.Namespaced:
		m.SetNamespace("")
	case m.GetNamespace() == "":
		m.SetNamespace(namespace)
	case m.GetNamespace() != namespace:
		return apierrors.NewBadRequest(fmt.Sprintf(
			"the object is in namespace %q, but the request is for namespace %q", m.GetNamespace(), namespace))
	}
	return nil
}

// checkNamespace refuses new objects in a namespace that does not exist or is going away.
func (r *Registry) checkNamespace(ctx context.Context, d *Definition, call Call) error {
	if !d.Namespaced {
		return nil
	}
	if call.Namespace == "" {
		return apierrors.NewBadRequest("a namespace is required")
	}
	// The cache may be a moment behind a namespace that was just made, so only a fresh read can say that it is missing.
	entry, err := r.store.Get(ctx, namespaces().Stored, "", call.Namespace, false)
	if apierrors.IsNotFound(err) {
		entry, err = r.store.Get(ctx, namespaces().Stored, "", call.Namespace, true)
	}
	if err != nil {
		return err
	}
	obj, err := object[*corev1.Namespace](entry)
	if err != nil {
		return err
	}
	if obj.DeletionTimestamp == nil && obj.Status.Phase != corev1.NamespaceTerminating {
		return nil
	}
	forbidden := apierrors.NewForbidden(d.GR(), call.Name, fmt.Errorf("namespace %s is being terminated and takes no new objects", call.Namespace))
	forbidden.ErrStatus.Details.Causes = append(forbidden.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Field: "metadata.namespace",
		Message: fmt.Sprintf("namespace %s is being terminated", call.Namespace),
	})
	return forbidden
}

func (r *Registry) admit(ctx context.Context, d *Definition, call Call, obj, old runtime.Object) error {
	if r.cfg.Admission == nil {
		return nil
	}
	return r.cfg.Admission.Admit(ctx, d, call, obj, old)
}
