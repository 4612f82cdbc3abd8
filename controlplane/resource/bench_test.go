package resource

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func benchPod(ns string) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "p-", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "registry.petrel.internal/default/web@sha256:1", Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
			Env: []corev1.EnvVar{{Name: "A", Value: "b"}},
		}}},
	}
}

// BenchmarkOwnership measures what managed fields cost a create: the first of its kind, and the others.
func BenchmarkOwnership(b *testing.B) {
	for _, known := range []bool{false, true} {
		b.Run(fmt.Sprintf("known=%v", known), func(b *testing.B) {
			m, now := newManagers(), shared.now()
			for i := range b.N {
				p := benchPod("default")
				if !known {
					p.Labels["i"] = fmt.Sprint(i)
				}
				pods().Rules.Default(p)
				if _, err := m.created(pods(), Call{Manager: "bench"}, now, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCreate measures a whole create but the network.
func BenchmarkCreate(b *testing.B) {
	ns, err := shared.Client("bench").Create(b.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}})
	if err != nil {
		b.Fatal(err)
	}
	c := shared.Client("bench")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Create(b.Context(), benchPod(ns.GetName())); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkStatus measures what a node writes most: a pod's status, as a patch and as an update.
func BenchmarkStatus(b *testing.B) {
	ns, err := shared.Client("bench").Create(b.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}})
	if err != nil {
		b.Fatal(err)
	}
	c := shared.Client("node")
	p, err := c.Create(b.Context(), benchPod(ns.GetName()))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("patch", func(b *testing.B) {
		for i := range b.N {
			patch := fmt.Sprintf(`{"status":{"message":"%d","conditions":[{"type":"Ready","status":"True"}]}}`, i)
			if _, err := c.Patch(b.Context(), p, types.StrategicMergePatchType, []byte(patch), "status"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("update", func(b *testing.B) {
		obj, err := c.Get(b.Context(), p)
		if err != nil {
			b.Fatal(err)
		}
		for i := range b.N {
			obj.(*corev1.Pod).Status.Message = fmt.Sprint("u", i)
			if obj, err = c.UpdateStatus(b.Context(), obj); err != nil {
				b.Fatal(err)
			}
		}
	})
}
