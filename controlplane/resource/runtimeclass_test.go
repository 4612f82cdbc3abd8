package resource

import (
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestWasmPodsAskForNothingImpossible: what a pod is its class's handler says, whatever the class is called.
func TestWasmPodsAskForNothingImpossible(t *testing.T) {
	ns := space(t)
	modules := class(t, nodev1.RuntimeClass{Handler: "wasm"})
	containers := class(t, nodev1.RuntimeClass{Handler: "runc"})
	for name, refused := range map[string]bool{"wasm": true, modules: true, containers: false, "": false} {
		p := newPod(ns, "impossible-"+name)
		if name == "" {
			p.Name = "unknown" // its node finds out
		} else {
			p.Spec.RuntimeClassName = &name
		}
		p.Spec.ShareProcessNamespace = ptr.To(true)
		_, err := shared.Client("test").Create(t.Context(), p)
		if !refused && err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if refused && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.shareProcessNamespace: Forbidden: a Wasm guest is no process")) {
			t.Errorf("%q: error = %v", name, err)
		}
	}
	possible := newPod(ns, "possible")
	possible.Spec.RuntimeClassName = ptr.To("wasm")
	create(t, possible)
}

func TestWasmClassIsOfWasm(t *testing.T) {
	err := checkWasmClass(runtimeClasses(), &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "wasm"}, Handler: "runc"})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), `handler: Invalid value: "runc"`) {
		t.Errorf("error = %v", err)
	}
	for name, handler := range map[string]string{"wasm": "wasm", "others": "wasm", "runc": "runc"} {
		if err := checkWasmClass(runtimeClasses(), &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: handler}); err != nil {
			t.Errorf("%s of %s: %v", name, handler, err)
		}
	}
}

// TestRuntimeClassAddsToPods has pods get what their class says of all its pods, and shows that it is the class's.
func TestRuntimeClassAddsToPods(t *testing.T) {
	ns := space(t)
	overhead := corev1.ResourceList{corev1.ResourceCPU: apiresource.MustParse("250m"), corev1.ResourceMemory: apiresource.MustParse("120Mi")}
	gpu := corev1.Toleration{Key: "gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}
	gpuA100 := corev1.Toleration{Key: "gpu", Operator: corev1.TolerationOpEqual, Value: "a100", Effect: corev1.TaintEffectNoSchedule}
	own := corev1.Toleration{Key: "mine", Operator: corev1.TolerationOpExists}
	name := class(t, nodev1.RuntimeClass{
		Handler: "kata", Overhead: &nodev1.Overhead{PodFixed: overhead},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"sandbox": "vm"}, Tolerations: []corev1.Toleration{gpu}},
	})
	bare := newPod(ns, "bare")
	bare.Spec.RuntimeClassName = &name
	choosy := newPod(ns, "choosy")
	choosy.Spec.RuntimeClassName = &name
	choosy.Spec.NodeSelector = map[string]string{"disk": "ssd", "sandbox": "vm"}
	choosy.Spec.Tolerations = []corev1.Toleration{own, gpuA100}
	choosy.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: apiresource.MustParse("0.25"), corev1.ResourceMemory: apiresource.MustParse("120Mi")}
	for _, tc := range []struct {
		pod         *corev1.Pod
		selector    map[string]string
		tolerations []corev1.Toleration
	}{
		{bare, map[string]string{"sandbox": "vm"}, []corev1.Toleration{gpu}},
		{choosy, map[string]string{"disk": "ssd", "sandbox": "vm"}, []corev1.Toleration{own, gpu}},
	} {
		got := create(t, tc.pod)
		cpu, memory := got.Spec.Overhead[corev1.ResourceCPU], got.Spec.Overhead[corev1.ResourceMemory]
		if cpu.MilliValue() != 250 || memory.Value() != 120<<20 || len(got.Spec.Overhead) != 2 {
			t.Errorf("%s: overhead %v", got.Name, got.Spec.Overhead)
		}
		if !maps.Equal(got.Spec.NodeSelector, tc.selector) {
			t.Errorf("%s: selector %v, want %v", got.Name, got.Spec.NodeSelector, tc.selector)
		}
		if !slices.Equal(got.Spec.Tolerations, tc.tolerations) {
			t.Errorf("%s: tolerates %v, want %v", got.Name, got.Spec.Tolerations, tc.tolerations)
		}
		if owned := string(got.ManagedFields[0].FieldsV1.Raw); got.Name == "bare" && (strings.Contains(owned, "overhead") || strings.Contains(owned, "nodeSelector")) {
			t.Errorf("whoever made the pod owns what its class gave it: %s", owned)
		}
	}
	stored, err := shared.Client("test").Get(t.Context(), &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil || len(stored.(*nodev1.RuntimeClass).Scheduling.NodeSelector) != 1 {
		t.Errorf("the class itself is now %v, %v", stored, err)
	}
}

func TestRuntimeClassConflicts(t *testing.T) {
	ns := space(t)
	cpu := func(q string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: apiresource.MustParse(q)}
	}
	full := class(t, nodev1.RuntimeClass{
		Handler: "runc", Overhead: &nodev1.Overhead{PodFixed: cpu("1")},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"disk": "ssd"}},
	})
	empty := class(t, nodev1.RuntimeClass{Handler: "runc"})
	for _, tc := range []struct {
		name string
		spec corev1.PodSpec
		want string
	}{
		{"missing", corev1.PodSpec{RuntimeClassName: ptr.To("none-such")}, `pod rejected: RuntimeClass "none-such" not found`},
		{"overhead", corev1.PodSpec{RuntimeClassName: &full, Overhead: cpu("2")}, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"},
		{"stray", corev1.PodSpec{RuntimeClassName: &empty, Overhead: cpu("1")}, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"},
		{"classless", corev1.PodSpec{Overhead: cpu("1")}, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"},
		{"selector", corev1.PodSpec{RuntimeClassName: &full, NodeSelector: map[string]string{"disk": "hdd"}},
			"conflict: runtimeClass.scheduling.nodeSelector[disk] = ssd; pod.spec.nodeSelector[disk] = hdd"},
	} {
		p := newPod(ns, tc.name)
		p.Spec.RuntimeClassName, p.Spec.Overhead, p.Spec.NodeSelector = tc.spec.RuntimeClassName, tc.spec.Overhead, tc.spec.NodeSelector
		_, err := shared.Client("test").Create(t.Context(), p)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error = %v, want %s", tc.name, err, tc.want)
		}
	}
	unnamed := newPod(ns, "unnamed")
	unnamed.Spec.RuntimeClassName = ptr.To("")
	if _, err := shared.Client("test").Create(t.Context(), unnamed); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.runtimeClassName") {
		t.Errorf("an empty name: error = %v", err)
	}
}

// class makes a RuntimeClass with a name of its own.
func class(t *testing.T, c nodev1.RuntimeClass) string {
	t.Helper()
	c.GenerateName = "class-"
	made := create(t, &c)
	return made.Name
}
