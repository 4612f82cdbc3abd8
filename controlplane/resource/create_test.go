package resource

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/petrelrun/petrel/controlplane/api"
)

func TestCreateSetsWhatOnlyTheServerSets(t *testing.T) {
	ns := space(t)
	in := newPod(ns, "p")
	in.UID, in.CreationTimestamp, in.Generation = "mine", metav1.NewTime(time.Unix(1, 0)), 7
	in.DeletionTimestamp, in.Status.Phase = &in.CreationTimestamp, corev1.PodRunning
	before := in.DeepCopy()
	p := create(t, in)
	switch {
	case p.UID == "mine" || p.UID == "":
		t.Error("UID", p.UID)
	case time.Since(p.CreationTimestamp.Time) > time.Minute:
		t.Error("creation time", p.CreationTimestamp)
	case p.Generation != 1:
		t.Error("generation", p.Generation)
	case p.DeletionTimestamp != nil:
		t.Error("created as deleted")
	case p.Status.Phase != corev1.PodPending:
		t.Error("status was taken from the client:", p.Status.Phase)
	case p.ResourceVersion == "":
		t.Error("no resourceVersion")
	case p.Spec.RestartPolicy != corev1.RestartPolicyAlways || p.Spec.Containers[0].TerminationMessagePath == "":
		t.Error("no defaults")
	case p.Kind != "Pod" || p.APIVersion != "v1":
		t.Error("type", p.TypeMeta)
	}
	if in.Name != before.Name || in.UID != before.UID || in.Spec.RestartPolicy != "" {
		t.Error("the caller's object was changed")
	}
	if got := read(t, newPod(ns, "p")); got.ResourceVersion != p.ResourceVersion || got.UID != p.UID {
		t.Errorf("read %s %s, created %s %s", got.UID, got.ResourceVersion, p.UID, p.ResourceVersion)
	}
}

func TestCreateRefuses(t *testing.T) {
	ns := space(t)
	create(t, newConfigMap(ns, "there"))
	versioned := newConfigMap(ns, "versioned")
	versioned.ResourceVersion = "1"
	tests := []struct {
		name string
		obj  api.Object
		is   func(error) bool
		text string
	}{
		{"twice", newConfigMap(ns, "there"), apierrors.IsAlreadyExists, "there"},
		{"no name", newConfigMap(ns, ""), apierrors.IsInvalid, "metadata.name"},
		{"bad name", newConfigMap(ns, "Not/Allowed"), apierrors.IsInvalid, "metadata.name"},
		{"no such namespace", newConfigMap("nowhere", "x"), apierrors.IsNotFound, "namespaces"},
		{"no namespace", newConfigMap("", "x"), apierrors.IsBadRequest, "namespace"},
		{"with a resourceVersion", versioned, apierrors.IsBadRequest, "resourceVersion"},
		{"invalid spec", &corev1.Pod{ObjectMeta: meta1(ns, "p")}, apierrors.IsInvalid, "spec.containers"},
		{"invalid own kind", &api.App{ObjectMeta: meta1(ns, "Bad_Name")}, apierrors.IsInvalid, "metadata.name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := shared.Client("test").Create(t.Context(), tt.obj)
			if !tt.is(err) || !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("got %v", err)
			}
		})
	}
	_, err := shared.Create(t.Context(), must(corev1.SchemeGroupVersion.WithResource("configmaps")), call("default", ""), newConfigMap(ns, "x"))
	if !apierrors.IsBadRequest(err) {
		t.Errorf("object of another namespace: %v", err)
	}
}

func TestGenerateName(t *testing.T) {
	ns := space(t)
	seen := map[string]bool{}
	for range 50 {
		cm := create(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "gen-"}})
		if !strings.HasPrefix(cm.Name, "gen-") || len(cm.Name) != len("gen-")+generatedLength || seen[cm.Name] {
			t.Fatalf("generated %q", cm.Name)
		}
		seen[cm.Name] = true
	}
	long := generateName(strings.Repeat("x", 300))
	if len(long) != 63 {
		t.Errorf("generated %d characters", len(long))
	}
}

func TestDryRunLeavesNothing(t *testing.T) {
	ns := space(t)
	c := call(ns, "")
	c.DryRun = true
	d := servicesDefinition()
	out, err := shared.Create(t.Context(), d, c, &corev1.Service{ObjectMeta: meta1(ns, "dry"), Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 81}}}})
	if err != nil {
		t.Fatal(err)
	}
	svc := out.(*corev1.Service)
	if svc.UID == "" || svc.Spec.ClusterIP == "" || svc.Spec.Ports[0].NodePort == 0 || svc.Spec.Ports[0].NodePort == svc.Spec.Ports[1].NodePort {
		t.Errorf("dry run shows %+v", svc.Spec)
	}
	if _, err := shared.Get(t.Context(), d, ns, "dry", true); !apierrors.IsNotFound(err) {
		t.Errorf("after a dry run: %v", err)
	}
	if held := claimsOf(t, svc); len(held) != 0 {
		t.Errorf("a dry run claimed %v", held)
	}
	cm := must(corev1.SchemeGroupVersion.WithResource("configmaps"))
	create(t, newConfigMap(ns, "there"))
	if _, err := shared.Create(t.Context(), cm, c, newConfigMap(ns, "there")); !apierrors.IsAlreadyExists(err) {
		t.Errorf("dry run of what is there: %v", err)
	}
}

func TestTerminatingNamespaceTakesNothing(t *testing.T) {
	ns := space(t)
	if _, removed, err := shared.Delete(t.Context(), namespaces(), call("", ns), metav1.DeleteOptions{}); err != nil || removed {
		t.Fatalf("removed %v, %v", removed, err)
	}
	_, err := shared.Client("test").Create(t.Context(), newConfigMap(ns, "late"))
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Fatalf("got %v", err)
	}
	// The namespace controller takes the finalizer away, and with it the namespace.
	obj := read(t, &corev1.Namespace{ObjectMeta: meta1("", ns)})
	if obj.Status.Phase != corev1.NamespaceTerminating || obj.DeletionTimestamp == nil {
		t.Fatalf("status %+v", obj.Status)
	}
	obj.Spec.Finalizers = nil
	if err := shared.Client("test").Finalize(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.Get(t.Context(), namespaces(), "", ns, true); !apierrors.IsNotFound(err) {
		t.Fatalf("after finalize: %v", err)
	}
}

// admission records and refuses.
type admission func(d *Definition, c Call) error

func (a admission) Admit(_ context.Context, d *Definition, c Call, _, _ runtime.Object) error {
	return a(d, c)
}

func TestAdmissionMayRefuse(t *testing.T) {
	var seen []string
	r, err := New(Config{Store: shared.store, Logger: quiet, Admission: admission(func(d *Definition, c Call) error {
		seen = append(seen, d.GVK.Kind+" "+c.Name)
		return apierrors.NewForbidden(d.GR(), c.Name, nil)
	})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Client("test").Create(t.Context(), newConfigMap("default", "refused")); !apierrors.IsForbidden(err) {
		t.Fatalf("got %v", err)
	}
	if len(seen) != 1 || seen[0] != "ConfigMap refused" {
		t.Errorf("saw %v", seen)
	}
}
