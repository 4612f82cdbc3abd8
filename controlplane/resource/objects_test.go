package resource

import (
	"context"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
)

func meta1(ns, name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }

func podSpec() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "image"}}}
}

func newPod(ns, name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: meta1(ns, name), Spec: podSpec()}
}

func newDeployment(ns, name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: meta1(ns, name), Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()},
	}}
}

func newJob(ns, name string) *batchv1.Job {
	spec := podSpec()
	spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{ObjectMeta: meta1(ns, name), Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: spec}}}
}

func newConfigMap(ns, name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: meta1(ns, name), Data: map[string]string{"k": "v"}}
}

func newApp(ns, name string) *api.App {
	return &api.App{ObjectMeta: meta1(ns, name), Spec: api.AppSpec{AppTemplate: api.AppTemplate{
		Image: "registry.petrel.internal/" + ns + "/" + name + "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	}}}
}

func read[T api.Object](t *testing.T, obj T) T {
	t.Helper()
	out, err := shared.Client("test").Get(t.Context(), obj)
	if err != nil {
		t.Fatalf("get %T %s: %v", obj, obj.GetName(), err)
	}
	return out.(T)
}

func call(ns, name string) Call { return Call{Namespace: ns, Name: name, Manager: "test"} }

// modify is a strategic merge patch.
func modify[T runtime.Object](t *testing.T, d *Definition, c Call, patch string) T {
	t.Helper()
	out, _, err := shared.Patch(t.Context(), d, c, Patch{Type: types.StrategicMergePatchType, Data: []byte(patch)})
	if err != nil {
		t.Fatalf("patch %s: %v", c.Name, err)
	}
	return out.(T)
}

// quieter cuts a long value for a message.
func quieter(s string) string { return s[:min(len(s), 300)] }

var background = context.Background()
