package resource

import (
	"encoding/json"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestPatchTypes(t *testing.T) {
	tests := []struct {
		name  string
		typ   types.PatchType
		patch string
		want  func(*appsv1.Deployment) bool
	}{
		{"json", types.JSONPatchType, `[{"op":"replace","path":"/spec/replicas","value":4},{"op":"test","path":"/spec/replicas","value":4}]`,
			func(d *appsv1.Deployment) bool { return *d.Spec.Replicas == 4 && d.Generation == 2 }},
		{"merge", types.MergePatchType, `{"metadata":{"labels":{"x":"y"}},"spec":{"replicas":4}}`,
			func(d *appsv1.Deployment) bool { return *d.Spec.Replicas == 4 && d.Labels["x"] == "y" }},
		{"merge replaces lists", types.MergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"d","image":"i"}]}}}}`,
			func(d *appsv1.Deployment) bool {
				return len(d.Spec.Template.Spec.Containers) == 1 && d.Spec.Template.Spec.Containers[0].Name == "d"
			}},
		{"strategic merges lists by key", types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"d","image":"i"}]}}}}`,
			func(d *appsv1.Deployment) bool { return len(d.Spec.Template.Spec.Containers) == 2 }},
		{"null takes away, the default comes back", types.MergePatchType, `{"spec":{"replicas":null}}`,
			func(d *appsv1.Deployment) bool { return *d.Spec.Replicas == 1 }},
		{"metadata that is the server's stays", types.MergePatchType, `{"metadata":{"generation":9,"creationTimestamp":null}}`,
			func(d *appsv1.Deployment) bool { return d.Generation == 1 && !d.CreationTimestamp.IsZero() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ns := space(t)
			create(t, newDeployment(ns, "d"))
			out, created, err := shared.Patch(t.Context(), deployments(), call(ns, "d"), Patch{Type: tt.typ, Data: []byte(tt.patch)})
			if err != nil || created || !tt.want(out.(*appsv1.Deployment)) {
				t.Fatalf("%v, %v, %+v", created, err, out)
			}
		})
	}
}

func TestPatchRefuses(t *testing.T) {
	ns := space(t)
	d := create(t, newDeployment(ns, "d"))
	many, err := json.Marshal(make([]operation, MaxJSONPatchOperations+1))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, patch string
		typ         types.PatchType
		is          func(error) bool
	}{
		{"no JSON", `{`, types.MergePatchType, apierrors.IsBadRequest},
		{"no operations", `{}`, types.JSONPatchType, apierrors.IsBadRequest},
		{"failed test", `[{"op":"test","path":"/spec/replicas","value":9}]`, types.JSONPatchType, isUnprocessable},
		{"missing path", `[{"op":"remove","path":"/spec/nope"}]`, types.JSONPatchType, isUnprocessable},
		{"too many operations", string(many), types.JSONPatchType, apierrors.IsRequestEntityTooLargeError},
		{"other name", `{"metadata":{"name":"e"}}`, types.MergePatchType, apierrors.IsBadRequest},
		{"other namespace", `{"metadata":{"namespace":"default"}}`, types.MergePatchType, apierrors.IsBadRequest},
		{"other kind", `{"kind":"ReplicaSet"}`, types.MergePatchType, apierrors.IsBadRequest},
		{"stale", `{"metadata":{"resourceVersion":"1"}}`, types.MergePatchType, apierrors.IsConflict},
		{"other UID", `{"metadata":{"uid":"x"}}`, types.StrategicMergePatchType, apierrors.IsConflict},
		{"wrong type", `{"spec":{"replicas":"many"}}`, types.StrategicMergePatchType, apierrors.IsInvalid},
		{"invalid result", `{"spec":{"replicas":-1}}`, types.MergePatchType, apierrors.IsInvalid},
		{"unknown type", `{}`, "text/plain", apierrors.IsUnsupportedMediaType},
		{"unknown directive", `{"spec":{"template":{"$patch":"nonsense"}}}`, types.StrategicMergePatchType, isUnprocessableOrBad},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := shared.Patch(t.Context(), deployments(), call(ns, "d"), Patch{Type: tt.typ, Data: []byte(tt.patch)})
			if !tt.is(err) {
				t.Fatalf("got %v", err)
			}
		})
	}
	if got := read(t, newDeployment(ns, "d")); got.ResourceVersion != d.ResourceVersion {
		t.Error("a refused patch wrote")
	}
}

func isUnprocessable(err error) bool {
	status, ok := err.(apierrors.APIStatus)
	return ok && status.Status().Code == 422
}

func isUnprocessableOrBad(err error) bool { return isUnprocessable(err) || apierrors.IsBadRequest(err) }

func TestFieldValidationOfPatches(t *testing.T) {
	ns := space(t)
	create(t, newDeployment(ns, "d"))
	patches := map[types.PatchType]string{
		types.MergePatchType:          `{"spec":{"bogus":1}}`,
		types.StrategicMergePatchType: `{"spec":{"bogus":1}}`,
		types.JSONPatchType:           `[{"op":"add","path":"/spec/bogus","value":1}]`,
	}
	for typ, patch := range patches {
		for _, mode := range []string{metav1.FieldValidationIgnore, metav1.FieldValidationWarn, metav1.FieldValidationStrict} {
			var warned []string
			c := call(ns, "d")
			c.FieldValidation, c.Warn = mode, func(s string) { warned = append(warned, s) }
			_, _, err := shared.Patch(t.Context(), deployments(), c, Patch{Type: typ, Data: []byte(patch)})
			strict, told := mode == metav1.FieldValidationStrict, mode == metav1.FieldValidationWarn
			if (err != nil) != strict || (len(warned) > 0) != told {
				t.Errorf("%s %s: %v, warned %v", typ, mode, err, warned)
			}
			if strict && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "bogus")) {
				t.Errorf("%s: %v", typ, err)
			}
		}
	}
}

func TestOwnKindsHaveNoStrategicMerge(t *testing.T) {
	d, ok := lookupKind(appKind)
	if !ok {
		t.Fatal("no App")
	}
	for _, typ := range PatchTypes(d) {
		if typ == types.StrategicMergePatchType {
			t.Error("App takes strategic merge patches")
		}
	}
	ns := space(t)
	create(t, newApp(ns, "a"))
	out, _, err := shared.Patch(t.Context(), d, call(ns, "a"), Patch{Type: types.MergePatchType, Data: []byte(`{"spec":{"replicas":3}}`)})
	if err != nil || out.GetObjectKind().GroupVersionKind() != appKind {
		t.Fatal(out, err)
	}
}

// FuzzPatch holds whatever a client sends to an error or a valid object, never to a panic.
func FuzzPatch(f *testing.F) {
	for i, seed := range []string{
		`{"spec":{"replicas":2}}`, `[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]`, `[{"op":"copy","from":"","path":"/spec"}]`,
		`{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"c"}],"containers":[{"$patch":"delete","name":"c"}]}}}}`,
		`{"metadata":null}`, `[]`, `null`, `{"$patch":"replace"}`, `{"spec":{"template":{"spec":{"$retainKeys":["x"]}}}}`,
	} {
		f.Add(i%3, seed)
	}
	kinds := []types.PatchType{types.MergePatchType, types.JSONPatchType, types.StrategicMergePatchType}
	d := newDeployment("default", "d")
	d.SetGroupVersionKind(deployments().GVK)
	deployments().Rules.Default(d)
	f.Fuzz(func(t *testing.T, kind int, patch string) {
		typ := kinds[uint(kind)%3]
		out, err := patched(d.DeepCopy(), deployments().GVK, Call{FieldValidation: metav1.FieldValidationStrict}, Patch{Type: typ, Data: []byte(patch)})
		if err != nil {
			if _, ok := err.(apierrors.APIStatus); !ok {
				t.Fatalf("%s %q: an error that is no API status: %v", typ, patch, err)
			}
			return
		}
		if _, ok := out.(*appsv1.Deployment); !ok {
			t.Fatalf("%s %q made a %T", typ, patch, out)
		}
	})
}
