package resource

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
)

func TestWasmPodsAskForNothingImpossible(t *testing.T) {
	ns := space(t)
	impossible := newPod(ns, "impossible")
	impossible.Spec.RuntimeClassName = ptr.To("wasm")
	impossible.Spec.ShareProcessNamespace = ptr.To(true)
	_, err := shared.Client("test").Create(t.Context(), impossible)
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.shareProcessNamespace: Forbidden: a Wasm guest is no process") {
		t.Errorf("error = %v", err)
	}
	possible := newPod(ns, "possible")
	possible.Spec.RuntimeClassName = ptr.To("wasm")
	create(t, possible)
	unknown := newPod(ns, "unknown") // its node finds out
	unknown.Spec.ShareProcessNamespace = ptr.To(true)
	create(t, unknown)
}
