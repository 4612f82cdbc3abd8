package resource

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// apply is server-side apply: the fields that the configuration names become as it says and the manager's own; those
// it named before and names no more are removed; one that another manager set differently is a conflict.
func (r *Registry) apply(ctx context.Context, d *Definition, call Call, p Patch) (out runtime.Object, created bool, err error) {
	if call.Manager == "" {
		return nil, false, apierrors.NewBadRequest("fieldManager is required for an apply")
	}
	config, err := decodeApply(call, p.Data)
	if err != nil {
		return nil, false, err
	}
	if err := matchConfig(d, call, config); err != nil {
		return nil, false, err
	}
	// The apply itself says who owns what, so the change must not say it again.
	owned := call
	owned.Manager = ""
	onto := func(current runtime.Object) (runtime.Object, error) {
		return r.applied(d, call, current, config, p.Force)
	}
	out, err = r.change(ctx, d, owned, onto)
	if !apierrors.IsNotFound(err) || call.Subresource != "" {
		return out, false, err
	}
	if config.GetUID() != "" {
		return nil, false, apierrors.NewConflict(d.GR(), call.Name, fmt.Errorf("the configuration names UID %s, but there is no such object", config.GetUID()))
	}
	out, err = r.createApplied(ctx, d, call, config)
	if apierrors.IsAlreadyExists(err) { // someone else made it in between
		out, err = r.change(ctx, d, owned, onto)
		return out, false, err
	}
	return out, err == nil, err
}

func (r *Registry) applied(d *Definition, call Call, current runtime.Object, config *unstructured.Unstructured, force bool) (runtime.Object, error) {
	fm, err := r.managers.get(d, call.Subresource)
	if err != nil {
		return nil, err
	}
	if v := config.GetResourceVersion(); v != "" || config.GetUID() != "" {
		if err := checkVersion(d, call, current, v, config.GetUID()); err != nil {
			return nil, err
		}
	}
	obj, err := fm.Apply(current, config.DeepCopy(), call.Manager, force)
	if err != nil {
		return nil, applyError(err)
	}
	return obj, nil
}

func (r *Registry) createApplied(ctx context.Context, d *Definition, call Call, config *unstructured.Unstructured) (runtime.Object, error) {
	fm, err := r.managers.get(d, call.Subresource)
	if err != nil {
		return nil, err
	}
	empty := d.Rules.New()
	m, err := meta.Accessor(empty)
	if err != nil {
		return nil, err
	}
	m.SetName(call.Name)
	m.SetNamespace(call.Namespace)
	obj, err := fm.Apply(empty, config.DeepCopy(), call.Manager, true)
	if err != nil {
		return nil, applyError(err)
	}
	call.Manager = ""
	return r.Create(ctx, d, call, obj)
}

// decodeApply reads the configuration, which is YAML and therefore may be JSON.
func decodeApply(call Call, data []byte) (*unstructured.Unstructured, error) {
	config := &unstructured.Unstructured{Object: map[string]any{}}
	if err := yaml.Unmarshal(data, &config.Object); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("decode configuration: %v", err))
	}
	if config.Object == nil {
		return nil, apierrors.NewBadRequest("the configuration is empty")
	}
	if err := yaml.UnmarshalStrict(data, &map[string]any{}); err != nil {
		switch call.FieldValidation {
		case metav1.FieldValidationIgnore:
		case metav1.FieldValidationStrict:
			return nil, apierrors.NewBadRequest(fmt.Sprintf("decode configuration strictly: %v", err))
		default:
			call.warn(err.Error())
		}
	}
	return config, nil
}

// matchConfig holds a configuration to its URL and fills in what it may leave out.
func matchConfig(d *Definition, call Call, config *unstructured.Unstructured) error {
	if _, isMap := config.Object["metadata"].(map[string]any); config.Object["metadata"] != nil && !isMap {
		return apierrors.NewBadRequest("metadata must be an object")
	}
	if gvk := config.GroupVersionKind(); gvk != d.GVK {
		return apierrors.NewBadRequest(fmt.Sprintf("the configuration is for a %s, but the request is for a %s", gvk, d.GVK))
	}
	if config.GetManagedFields() != nil {
		return apierrors.NewBadRequest("metadata.managedFields must be nil")
	}
	if err := matchName(call.Name, config); err != nil {
		return err
	}
	return matchNamespace(d, call.Namespace, config)
}

// applyError tells the client's mistakes, which come as plain errors from the schema, from the server's.
func applyError(err error) error {
	if errors.As(err, new(apierrors.APIStatus)) {
		return err
	}
	return apierrors.NewBadRequest(fmt.Sprintf("apply configuration: %v", err))
}
