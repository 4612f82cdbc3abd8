package resource

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
)

var appKind = api.AppResource.GVK

func apply(d *Definition, ns, name, manager, config string, force bool) (api.Object, bool, error) {
	c := Call{Namespace: ns, Name: name, Manager: manager}
	out, created, err := shared.Patch(background, d, c, Patch{Type: types.ApplyYAMLPatchType, Data: []byte(config), Force: force})
	if err != nil {
		return nil, created, err
	}
	return out.(api.Object), created, nil
}

const deploymentConfig = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, labels: {team: one}}
spec:
  replicas: %d
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      containers:
      - {name: c, image: %s}
`

func TestApply(t *testing.T) {
	ns := space(t)
	d := deployments()
	out, created, err := apply(d, ns, "d", "one", fmt.Sprintf(deploymentConfig, 2, "a"), false)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	version := out.GetResourceVersion()
	out, created, err = apply(d, ns, "d", "one", fmt.Sprintf(deploymentConfig, 2, "a"), false)
	if err != nil || created || out.GetResourceVersion() != version {
		t.Fatalf("the same again: created %v, %v, revision %s became %s", created, err, version, out.GetResourceVersion())
	}

	// Somebody else owns what they set; taking it back is a conflict until forced.
	modify[*appsv1.Deployment](t, d, Call{Namespace: ns, Name: "d", Manager: "scaler"}, `{"spec":{"replicas":7}}`)
	_, _, err = apply(d, ns, "d", "one", fmt.Sprintf(deploymentConfig, 3, "b"), false)
	if !apierrors.IsConflict(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) || !strings.Contains(err.Error(), "scaler") {
		t.Fatalf("conflict: %v", err)
	}
	if out, _, err = apply(d, ns, "d", "one", fmt.Sprintf(deploymentConfig, 3, "b"), true); err != nil {
		t.Fatal(err)
	}
	if got := out.(*appsv1.Deployment); *got.Spec.Replicas != 3 || got.Spec.Template.Spec.Containers[0].Image != "b" {
		t.Errorf("after force: %+v", got.Spec)
	}

	// What the configuration names no more goes, what others own stays.
	modify[*appsv1.Deployment](t, d, Call{Namespace: ns, Name: "d", Manager: "other"}, `{"metadata":{"labels":{"kept":"yes"}}}`)
	without := strings.Replace(fmt.Sprintf(deploymentConfig, 3, "b"), ", labels: {team: one}", "", 1)
	if out, _, err = apply(d, ns, "d", "one", without, false); err != nil {
		t.Fatal(err)
	}
	if l := out.GetLabels(); l["team"] != "" || l["kept"] != "yes" {
		t.Errorf("labels %v", l)
	}
}

func TestApplyRefuses(t *testing.T) {
	ns := space(t)
	config := fmt.Sprintf(deploymentConfig, 1, "a")
	tests := []struct {
		name, manager, config string
		is                    func(error) bool
	}{
		{"without a manager", "", config, apierrors.IsBadRequest},
		{"no YAML", "m", "\t{", apierrors.IsBadRequest},
		{"empty", "m", "", apierrors.IsBadRequest},
		{"other kind", "m", strings.Replace(config, "kind: Deployment", "kind: ReplicaSet", 1), apierrors.IsBadRequest},
		{"other name", "m", strings.Replace(config, "name: d,", "name: e,", 1), apierrors.IsBadRequest},
		{"managed fields", "m", strings.Replace(config, "name: d,", "name: d, managedFields: [{manager: x}],", 1), apierrors.IsBadRequest},
		{"unknown field", "m", strings.Replace(config, "replicas: 1", "bogus: 1", 1), apierrors.IsBadRequest},
		{"UID of nothing", "m", strings.Replace(config, "name: d,", "name: d, uid: x,", 1), apierrors.IsConflict},
		{"invalid", "m", strings.Replace(config, "replicas: 1", "replicas: -1", 1), apierrors.IsInvalid},
		{"metadata that is no object", "m", "apiVersion: apps/v1\nkind: Deployment\nmetadata: 1\n", apierrors.IsBadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := apply(deployments(), ns, "d", tt.manager, tt.config, false); !tt.is(err) {
				t.Fatalf("got %v", err)
			}
		})
	}
	if _, err := shared.Get(t.Context(), deployments(), ns, "d", true); !apierrors.IsNotFound(err) {
		t.Errorf("a refused apply made it: %v", err)
	}
}

func TestApplyOwnKind(t *testing.T) {
	ns := space(t)
	d, _ := lookupKind(appKind)
	config := `{"apiVersion":"petrel.run/v1alpha1","kind":"App","metadata":{"name":"a","finalizers":["x/one"]},"spec":{"replicas":%d,"image":"` + newApp(ns, "a").Spec.Image + `","env":[{"name":"A","value":"1"}]}}`
	out, created, err := apply(d, ns, "a", "one", fmt.Sprintf(config, 2), false)
	if err != nil || !created || *out.(*api.App).Spec.Replicas != 2 {
		t.Fatal(out, created, err)
	}
	if _, _, err = apply(d, ns, "a", "two", fmt.Sprintf(config, 3), false); !apierrors.IsConflict(err) {
		t.Fatalf("conflict: %v", err)
	}
	// Finalizers are a set: two managers each add their own.
	out, _, err = apply(d, ns, "a", "two", `{"apiVersion":"petrel.run/v1alpha1","kind":"App","metadata":{"name":"a","finalizers":["x/two"]}}`, false)
	if err != nil || len(out.GetFinalizers()) != 2 {
		t.Fatalf("finalizers %v, %v", out, err)
	}
	status := Call{Namespace: ns, Name: "a", Manager: "status", Subresource: "status"}
	got, _, err := shared.Patch(t.Context(), d, status, Patch{Type: types.ApplyYAMLPatchType, Data: []byte(
		`{"apiVersion":"petrel.run/v1alpha1","kind":"App","metadata":{"name":"a"},"status":{"url":"http://a.localhost"},"spec":{"replicas":9}}`)})
	if err != nil || got.(*api.App).Status.URL == "" || *got.(*api.App).Spec.Replicas != 2 {
		t.Fatalf("status: %+v, %v", got, err)
	}
}

func TestScale(t *testing.T) {
	ns := space(t)
	create(t, newDeployment(ns, "d"))
	d := deployments()
	s, err := shared.GetScale(t.Context(), d, call(ns, "d"))
	if err != nil || s.Spec.Replicas != 1 || s.Status.Selector != "app=d" || s.UID == "" {
		t.Fatalf("%+v, %v", s, err)
	}
	s.Spec.Replicas = 4
	out, err := shared.UpdateScale(t.Context(), d, Call{Namespace: ns, Name: "d", Manager: "scaler"}, s)
	if err != nil || out.Spec.Replicas != 4 {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := shared.UpdateScale(t.Context(), d, call(ns, "d"), s); !apierrors.IsConflict(err) {
		t.Errorf("stale: %v", err)
	}
	for typ, patch := range map[types.PatchType]string{
		types.MergePatchType: `{"spec":{"replicas":5}}`, types.StrategicMergePatchType: `{"spec":{"replicas":6}}`,
		types.JSONPatchType: `[{"op":"replace","path":"/spec/replicas","value":7}]`,
	} {
		if _, err := shared.PatchScale(t.Context(), d, Call{Namespace: ns, Name: "d", Manager: "scaler"}, Patch{Type: typ, Data: []byte(patch)}); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
	_, err = shared.PatchScale(t.Context(), d, call(ns, "d"), Patch{Type: types.MergePatchType, Data: []byte(`{"spec":{"replicas":-1}}`)})
	if !apierrors.IsInvalid(err) {
		t.Errorf("negative: %v", err)
	}
	applied := Patch{Type: types.ApplyYAMLPatchType, Force: true, Data: []byte(`{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"d"},"spec":{"replicas":8}}`)}
	if out, err = shared.PatchScale(t.Context(), d, Call{Namespace: ns, Name: "d", Manager: "applier"}, applied); err != nil || out.Spec.Replicas != 8 {
		t.Fatalf("apply: %+v, %v", out, err)
	}
	got := read(t, newDeployment(ns, "d"))
	if *got.Spec.Replicas != 8 || got.Generation != 6 {
		t.Errorf("replicas %d, generation %d", *got.Spec.Replicas, got.Generation)
	}
	owner := ""
	for _, e := range got.ManagedFields {
		if strings.Contains(string(e.FieldsV1.Raw), "f:replicas") {
			owner += e.Manager + "/" + e.Subresource + " "
		}
	}
	if owner != "applier/scale " {
		t.Errorf("replicas belong to %s", owner)
	}
	if _, err := ScaleOf(&corev1.Pod{}); err == nil {
		t.Error("a pod has a scale")
	}
	var _ *autoscalingv1.Scale = out
}
