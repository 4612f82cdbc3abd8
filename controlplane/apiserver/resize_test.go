package apiserver

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPodsResize: what a running pod has of CPU and memory is changed through a subresource of its own, which changes nothing
// else, and within upstream's rules.
func TestPodsResize(t *testing.T) {
	ns := space(t)
	pods := client(t, contentProtobuf).CoreV1().Pods(ns)
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	p, err := pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: list("10m", "10Mi"), Limits: list("20m", "20Mi")},
	}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	generation := p.Generation
	p.Spec.Containers[0].Resources.Requests = list("15m", "15Mi")
	p.Spec.Containers[0].Image = "other" // which this subresource does not change
	p, err = pods.UpdateResize(t.Context(), "p", p, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c := p.Spec.Containers[0]; c.Image != "i" || c.Resources.Requests.Cpu().String() != "15m" || p.Generation != generation+1 {
		t.Errorf("got %+v in generation %d", c, p.Generation)
	}
	p.Spec.Containers[0].Resources.Requests = list("1m", "15Mi")
	if _, err := pods.Update(t.Context(), p, metav1.UpdateOptions{}); err == nil {
		t.Error("resources can be changed without the subresource")
	}
	path := "/api/v1/namespaces/" + ns + "/pods/p/resize"
	patch := func(resources string) (int, string) {
		resp, body := request(t, "PATCH", path, `{"spec":{"containers":[{"name":"c","resources":`+resources+`}]}}`, "Content-Type: application/strategic-merge-patch+json")
		return resp.StatusCode, body
	}
	for resources, want := range map[string]string{
		`{"requests":{"cpu":"20m","memory":"20Mi"}}`: "QOS Class may not change",
		`{"limits":{"memory":null}}`:                 "cannot be removed",
		`{"requests":{"ephemeral-storage":"1Mi"}}`:   "only cpu and memory resources are mutable",
		`{"requests":{"cpu":"1"}}`:                   "must be less than or equal to cpu limit",
	} {
		if code, body := patch(resources); code != http.StatusUnprocessableEntity || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", resources, code, body)
		}
	}
	if code, body := patch(`{"limits":{"memory":"30Mi"}}`); code != http.StatusOK || !strings.Contains(body, `"30Mi"`) || !strings.Contains(body, `"20m"`) {
		t.Errorf("%d %s", code, body)
	}
	if resp, body := request(t, "GET", path, ""); resp.StatusCode != http.StatusOK || !strings.Contains(body, `"30Mi"`) {
		t.Errorf("%s %s", resp.Status, body)
	}
}
