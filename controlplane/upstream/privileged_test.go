package upstream

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestPodsMayBePrivileged(t *testing.T) {
	pods := find(t, "Pod")
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "u", CreationTimestamp: metav1.Now()},
		Spec: corev1.PodSpec{HostPID: true, HostNetwork: true, Containers: []corev1.Container{{
			Name: "c", Image: "i", SecurityContext: &corev1.SecurityContext{Privileged: ptr.To(true)},
		}}},
	}
	pods.Default(p)
	if _, err := pods.Create(t.Context(), Call{Namespace: "n"}, p); err != nil {
		t.Error(err)
	}
}
