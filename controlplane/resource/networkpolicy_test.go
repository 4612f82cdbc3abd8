package resource

import (
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/store"
)

func policies() *Definition {
	return must(networkingv1.SchemeGroupVersion.WithResource("networkpolicies"))
}

const policyConfig = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}, {namespaceSelector: {}}]
    ports: [{port: 5432, endPort: 5440}]
`

// TestNetworkPolicy takes one through apply, conflict, patch, watch and delete.
func TestNetworkPolicy(t *testing.T) {
	ns, d := space(t), policies()
	watch, err := shared.Watch(t.Context(), d, store.Query{Namespace: ns}, shared.Revision())
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	out, created, err := apply(d, ns, "db", "one", policyConfig, false)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	if got := out.(*networkingv1.NetworkPolicy); len(got.Spec.PolicyTypes) != 1 || got.Generation != 1 || *got.Spec.Ingress[0].Ports[0].Protocol != "TCP" {
		t.Errorf("applied: %+v", got)
	}
	again, _, err := apply(d, ns, "db", "one", policyConfig, false)
	if err != nil || again.GetResourceVersion() != out.GetResourceVersion() {
		t.Errorf("the same again: %v", err)
	}
	_, _, err = apply(d, ns, "db", "two", strings.Replace(policyConfig, "app: db", "app: other", 1), false)
	if !apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
		t.Errorf("conflict: %v", err)
	}
	patched := modify[*networkingv1.NetworkPolicy](t, d, call(ns, "db"), `{"spec":{"policyTypes":["Ingress","Egress"]}}`)
	if patched.Generation != 2 || len(patched.Spec.PolicyTypes) != 2 {
		t.Errorf("patched: %+v", patched)
	}
	if _, _, err := apply(d, ns, "bad", "one", strings.NewReplacer("name: db", "name: bad", "5440", "80").Replace(policyConfig), false); !apierrors.IsInvalid(err) {
		t.Errorf("an empty range: %v", err)
	}
	if err := shared.Client("test").Delete(t.Context(), patched, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for len(seen) < 3 {
		events, err := watch.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			seen = append(seen, string(e.Type))
		}
	}
	if got := strings.Join(seen, " "); got != "ADDED MODIFIED DELETED" {
		t.Errorf("watched %s", got)
	}
}
