package resource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"github.com/petrelrun/petrel/controlplane/api"
)

func init() {
	// The library has no way to say it for one patch.
	jsonpatch.AccumulatedCopySizeLimit = MaxPatchCopy
}

// Patch is a change as a client describes it.
type Patch struct {
	Type  types.PatchType
	Data  []byte
	Force bool // of an apply: take fields over from others
}

// PatchTypes are those a resource takes. Petrel's own kinds have no strategic merge, as custom resources have none.
func PatchTypes(d *Definition) []types.PatchType {
	all := []types.PatchType{types.JSONPatchType, types.MergePatchType, types.ApplyYAMLPatchType}
	if d.GVK.Group != api.GroupName {
		all = append(all, types.StrategicMergePatchType)
	}
	return all
}

// Patch changes an object as the patch says; an apply makes it where it is missing, which created tells.
func (r *Registry) Patch(ctx context.Context, d *Definition, call Call, p Patch) (out runtime.Object, created bool, err error) {
	if p.Type == types.ApplyYAMLPatchType {
		return r.apply(ctx, d, call, p)
	}
	out, err = r.change(ctx, d, call, func(current runtime.Object) (runtime.Object, error) {
		obj, err := patched(current, d.GVK, call, p)
		if err != nil {
			return nil, err
		}
		if err := checkPatched(d, call, current, obj); err != nil {
			return nil, err
		}
		d.Rules.Default(obj)
		return obj, nil
	})
	return out, false, err
}

// checkPatched holds what came out of a patch to the same identity.
func checkPatched(d *Definition, call Call, current, obj runtime.Object) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if err := matchName(call.Name, m); err != nil {
		return err
	}
	if err := matchNamespace(d, call.Namespace, m); err != nil {
		return err
	}
	return checkVersion(d, call, current, m.GetResourceVersion(), m.GetUID())
}

// patched answers a new object of the kind: current with the patch applied.
func patched(current runtime.Object, gvk schema.GroupVersionKind, call Call, p Patch) (runtime.Object, error) {
	obj, err := Scheme().New(gvk)
	if err != nil {
		return nil, err
	}
	if p.Type == types.StrategicMergePatchType {
		err = strategicPatch(current, obj, call, p.Data)
	} else {
		err = jsonPatch(current, obj, call, p)
	}
	if err != nil {
		return nil, err
	}
	if got := obj.GetObjectKind().GroupVersionKind(); got != gvk {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the patch makes the object a %s, but it is a %s", got, gvk))
	}
	return obj, nil
}

func jsonPatch(current, into runtime.Object, call Call, p Patch) error {
	original, err := json.Marshal(current)
	if err != nil {
		return fmt.Errorf("encode current object: %w", err)
	}
	var out []byte
	var strict []error
	switch p.Type {
	case types.JSONPatchType:
		out, strict, err = jsonOperations(original, p.Data)
	case types.MergePatchType:
		var v map[string]any
		if strict, err = kjson.UnmarshalStrict(p.Data, &v); err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("decode patch: %v", err))
		}
		out, err = jsonpatch.MergePatch(original, p.Data)
		if err != nil {
			err = apierrors.NewBadRequest(fmt.Sprintf("apply merge patch: %v", err))
		}
	default:
		return apierrors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "patch", schema.GroupResource{}, call.Name,
			fmt.Sprintf("patches of type %q are not supported", p.Type), 0, true)
	}
	if err != nil {
		return err
	}
	unknown, err := kjson.UnmarshalStrict(out, into)
	if err != nil {
		return invalidPatch(string(out), err)
	}
	return strictness(call, string(p.Data), append(strict, unknown...))
}

// operation is one step of a JSON patch, for telling unknown and duplicate fields.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

func jsonOperations(original, data []byte) (out []byte, strict []error, err error) {
	var steps []operation
	if strict, err = kjson.UnmarshalStrict(data, &steps); err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("decode patch: %v", err))
	}
	if len(steps) > MaxJSONPatchOperations {
		return nil, nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
			"a JSON patch may have %d operations; this one has %d", MaxJSONPatchOperations, len(steps)))
	}
	patch, err := jsonpatch.DecodePatch(data)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("decode patch: %v", err))
	}
	if out, err = patch.Apply(original); err != nil {
		return nil, nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "",
			fmt.Sprintf("apply patch: %v", err), 0, false)
	}
	return out, strict, nil
}

func strategicPatch(current, into runtime.Object, call Call, data []byte) error {
	original, err := runtime.DefaultUnstructuredConverter.ToUnstructured(current)
	if err != nil {
		return fmt.Errorf("encode current object: %w", err)
	}
	patch := map[string]any{}
	strict, err := kjson.UnmarshalStrict(data, &patch)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("decode patch: %v", err))
	}
	merged, err := strategicpatch.StrategicMergeMapPatch(original, patch, into)
	switch {
	case errors.Is(err, mergepatch.ErrBadJSONDoc), errors.Is(err, mergepatch.ErrBadPatchFormatForPrimitiveList),
		errors.Is(err, mergepatch.ErrBadPatchFormatForRetainKeys), errors.Is(err, mergepatch.ErrBadPatchFormatForSetElementOrderList),
		errors.Is(err, mergepatch.ErrUnsupportedStrategicMergePatchFormat):
		return apierrors.NewBadRequest(fmt.Sprintf("apply patch: %v", err))
	case err != nil:
		return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "",
			fmt.Sprintf("apply patch: %v", err), 0, false)
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(merged, into, true)
	if unknown, ok := runtime.AsStrictDecodingError(err); ok {
		strict, err = append(strict, unknown.Errors()...), nil
	}
	if err != nil {
		return invalidPatch(fmt.Sprintf("%+v", patch), err)
	}
	return strictness(call, string(data), strict)
}

// strictness does with unknown and duplicate fields what the client asked for.
func strictness(call Call, patch string, errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	switch call.FieldValidation {
	case metav1.FieldValidationIgnore:
	case metav1.FieldValidationStrict:
		return invalidPatch(patch, runtime.NewStrictDecodingError(errs))
	default:
		for _, err := range errs {
			call.warn(err.Error())
		}
	}
	return nil
}

func invalidPatch(patch string, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{
		field.Invalid(field.NewPath("patch"), patch, err.Error())})
}
