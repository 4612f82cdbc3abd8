package env

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "B": "$(A)", "EMPTY": ""}
	for in, want := range map[string]string{
		"":            "",
		"plain":       "plain",
		"$(A)":        "1",
		"x$(A)y$(A)z": "x1y1z",
		"$(B)":        "$(A)", // values are not expanded again
		"$(EMPTY)|":   "|",
		"$(NONE)":     "$(NONE)",
		"$$(A)":       "$(A)",
		"$$$(A)":      "$1",
		"$$":          "$",
		"$":           "$",
		"cost $5":     "cost $5",
		"$(A":         "$(A",
		"$A":          "$A",
		"$()":         "$()",
		"$(A)$(":      "1$(",
	} {
		if got := Expand(in, func(n string) (string, bool) { v, ok := vars[n]; return v, ok }); got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("a$(A)$$(B)$(")
	f.Fuzz(func(t *testing.T, s string) {
		if got := Expand(s, func(string) (string, bool) { return "", false }); strings.ReplaceAll(s, "$$", "$") != got && !strings.Contains(s, "$$") {
			t.Errorf("without values, %q became %q", s, got)
		}
	})
}

type objects struct {
	maps    map[string]map[string]string
	secrets map[string]map[string][]byte
	down    error
}

func (o objects) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if o.down != nil {
		return nil, o.down
	}
	data, ok := o.maps[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
	}
	return &corev1.ConfigMap{Data: data}, nil
}

func (o objects) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	data, ok := o.secrets[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
	}
	return &corev1.Secret{Data: data}, nil
}

func testPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "u1", Labels: map[string]string{"app": "x", "b": "y\"z"}},
		Spec: corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("100Mi")},
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m")},
		}}}},
	}
}

var testFacts = Facts{HostIP: "127.0.0.1", PodIP: "127.42.0.9", Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}}

func TestResolve(t *testing.T) {
	source := objects{
		maps:    map[string]map[string]string{"cm": {"k": "v", "other": "w"}},
		secrets: map[string]map[string][]byte{"s": {"pw": []byte("geheim")}},
	}
	p := testPod()
	c := &p.Spec.Containers[0]
	c.EnvFrom = []corev1.EnvFromSource{
		{Prefix: "CM_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Optional: ptr.To(true)}},
	}
	c.Env = []corev1.EnvVar{
		{Name: "PLAIN", Value: "p"},
		{Name: "REF", Value: "$(PLAIN)-$(CM_k)-$(BASE)-$(LATER)"},
		{Name: "LATER", Value: "l"},
		{Name: "pw", Value: "overridden"},
		{Name: "KEY", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "k"}}},
		{Name: "GONE", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "x", Optional: ptr.To(true)}}},
		{Name: "NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
		{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
		{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}}},
	}
	got, err := Resolve(t.Context(), p, c, testFacts, source, []Var{{"BASE", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	want := "[{BASE b} {CM_k v} {CM_other w} {pw overridden} {PLAIN p} {REF p-v-b-$(LATER)} {LATER l} {KEY v} {NAME web} {IP 127.42.0.9} {MEM 100}]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if args := Strings([]string{"--ip=$(IP)", "$(NOPE)"}, got); args[0] != "--ip=127.42.0.9" || args[1] != "$(NOPE)" {
		t.Errorf("arguments = %q", args)
	}
}

func TestMissingReferencesAreNamed(t *testing.T) {
	source := objects{maps: map[string]map[string]string{"cm": {}}}
	ref := corev1.LocalObjectReference{Name: "cm"}
	for want, change := range map[string]func(*corev1.Container){
		`configmap "none" not found`: func(c *corev1.Container) {
			c.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}}}
		},
		`variable V: no key "k" in configmap "cm"`: func(c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: "V", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref, Key: "k"}}}}
		},
		`variable V: secret "cm" not found`: func(c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: "V", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref, Key: "k"}}}}
		},
		`variable V: field "spec.x" is not one that the downward API offers`: func(c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: "V", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.x"}}}}
		},
		`variable V: this source of a value is not supported`: func(c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: "V", ValueFrom: &corev1.EnvVarSource{}}}
		},
	} {
		p := testPod()
		change(&p.Spec.Containers[0])
		if _, err := Resolve(t.Context(), p, &p.Spec.Containers[0], testFacts, source, nil); err == nil || err.Error() != want {
			t.Errorf("error = %v, want %s", err, want)
		}
	}
}

func TestAnAPIThatIsAwayIsNotAMissingReference(t *testing.T) {
	p := testPod()
	p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Optional: ptr.To(true),
	}}}
	if _, err := Resolve(t.Context(), p, &p.Spec.Containers[0], testFacts, objects{down: fmt.Errorf("connection refused")}, nil); err == nil {
		t.Error("an optional reference was taken for absent because the API was away")
	}
}

func TestFieldsAndResources(t *testing.T) {
	p := testPod()
	for path, want := range map[string]string{
		"metadata.namespace": "ns", "metadata.uid": "u1", "spec.nodeName": "node", "status.hostIP": "127.0.0.1",
		"metadata.labels['app']": "x", "metadata.annotations['none']": "", "metadata.labels": "app=\"x\"\nb=\"y\\\"z\"",
	} {
		if got, err := Field(p, path, testFacts); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", path, got, err, want)
		}
	}
	for _, test := range []struct{ name, divisor, want string }{
		{"limits.memory", "1", "104857600"}, {"limits.memory", "1Gi", "1"}, {"limits.cpu", "0", "2"},
		{"requests.cpu", "1", "2"}, {"requests.cpu", "1m", "1500"}, {"requests.memory", "1", "0"},
	} {
		got, err := Resource(p, &p.Spec.Containers[0], &corev1.ResourceFieldSelector{Resource: test.name, Divisor: resource.MustParse(test.divisor)}, testFacts.Allocatable)
		if err != nil || got != test.want {
			t.Errorf("%s / %s = %q, %v; want %q", test.name, test.divisor, got, err, test.want)
		}
	}
	for _, bad := range []string{"limits", "usage.cpu", ""} {
		if _, err := Resource(p, &p.Spec.Containers[0], &corev1.ResourceFieldSelector{Resource: bad}, nil); err == nil {
			t.Errorf("resource field %q was accepted", bad)
		}
	}
}
