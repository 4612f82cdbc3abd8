package resource

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
)

func TestBind(t *testing.T) {
	ns := space(t)
	p := create(t, newPod(ns, "p"))
	c := shared.Client("scheduler")
	b := &corev1.Binding{ObjectMeta: meta1(ns, "p"), Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	b.UID, b.Annotations = p.UID, map[string]string{"by": "test"}
	if err := c.Bind(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	got := read(t, newPod(ns, "p"))
	if got.Spec.NodeName != "n1" || got.Annotations["by"] != "test" {
		t.Errorf("bound: %s %v", got.Spec.NodeName, got.Annotations)
	}
	if len(got.Status.Conditions) != 1 || got.Status.Conditions[0].Type != corev1.PodScheduled || got.Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Errorf("conditions %+v", got.Status.Conditions)
	}
	if err := c.Bind(t.Context(), b); !apierrors.IsConflict(err) {
		t.Errorf("bound twice: %v", err)
	}
}

func TestBindRefuses(t *testing.T) {
	ns := space(t)
	create(t, newPod(ns, "p"))
	gated := newPod(ns, "gated")
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x/y"}}
	create(t, gated)
	held := newPod(ns, "held")
	held.Finalizers = []string{"x/y"}
	create(t, held)
	if _, _, err := shared.Delete(t.Context(), pods(), call(ns, "held"), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	node := corev1.ObjectReference{Name: "n"}
	tests := []struct {
		name, pod string
		b         corev1.Binding
		is        func(error) bool
	}{
		{"no target", "p", corev1.Binding{}, apierrors.IsInvalid},
		{"no node", "p", corev1.Binding{Target: corev1.ObjectReference{Kind: "Pod", Name: "n"}}, apierrors.IsInvalid},
		{"other name", "p", corev1.Binding{ObjectMeta: meta1(ns, "q"), Target: node}, apierrors.IsBadRequest},
		{"other namespace", "p", corev1.Binding{ObjectMeta: meta1("q", "p"), Target: node}, apierrors.IsBadRequest},
		{"other incarnation", "p", corev1.Binding{ObjectMeta: metav1.ObjectMeta{UID: "x"}, Target: node}, apierrors.IsConflict},
		{"gates", "gated", corev1.Binding{Target: node}, apierrors.IsBadRequest},
		{"being deleted", "held", corev1.Binding{Target: node}, apierrors.IsConflict},
		{"missing", "missing", corev1.Binding{Target: node}, apierrors.IsNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := shared.Bind(t.Context(), call(ns, tt.pod), &tt.b); !tt.is(err) {
				t.Fatalf("got %v", err)
			}
		})
	}
	dry := call(ns, "p")
	dry.DryRun = true
	if err := shared.Bind(t.Context(), dry, &corev1.Binding{Target: node}); err != nil {
		t.Fatal(err)
	}
	if p := read(t, newPod(ns, "p")); p.Spec.NodeName != "" {
		t.Error("a dry run bound the pod")
	}
}

// The worker's condition of a guest that failed is one that the API takes.
func TestGuestHealthCondition(t *testing.T) {
	ns := space(t)
	create(t, newPod(ns, "p"))
	c := call(ns, "p")
	c.Subresource = "status"
	p := modify[*corev1.Pod](t, pods(), c, `{"status":{"conditions":[{"type":"`+api.ConditionGuestHealthy+`","status":"False","reason":"CPUTimeExceeded",
		"message":"a limit in f (3 times)","lastProbeTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":1}]}}`)
	if len(p.Status.Conditions) != 1 || p.Status.Conditions[0].Reason != "CPUTimeExceeded" || p.Status.Conditions[0].LastProbeTime.IsZero() {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
}

func TestEvict(t *testing.T) {
	ns := space(t)
	create(t, newPod(ns, "p"))
	if err := shared.Evict(t.Context(), call(ns, "p"), &policyv1.Eviction{ObjectMeta: meta1(ns, "q")}); !apierrors.IsBadRequest(err) {
		t.Errorf("other name: %v", err)
	}
	dry := &policyv1.Eviction{ObjectMeta: meta1(ns, "p"), DeleteOptions: &metav1.DeleteOptions{DryRun: []string{"All"}}}
	if err := shared.Evict(t.Context(), call(ns, "p"), dry); err != nil {
		t.Fatal(err)
	}
	read(t, newPod(ns, "p"))
	if err := shared.Evict(t.Context(), call(ns, "p"), &policyv1.Eviction{ObjectMeta: meta1(ns, "p")}); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.Get(t.Context(), pods(), ns, "p", true); !apierrors.IsNotFound(err) {
		t.Errorf("after the eviction: %v", err)
	}
	if err := shared.Evict(t.Context(), call(ns, "p"), &policyv1.Eviction{}); !apierrors.IsNotFound(err) {
		t.Errorf("twice: %v", err)
	}
}
