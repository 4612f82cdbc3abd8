package pod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestQOS(t *testing.T) {
	amounts := func(cpu, memory string) corev1.ResourceList {
		out := corev1.ResourceList{}
		if cpu != "" {
			out[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			out[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return out
	}
	full := corev1.ResourceRequirements{Limits: amounts("1", "1Gi")}
	exact := corev1.ResourceRequirements{Limits: amounts("1", "1Gi"), Requests: amounts("1000m", "1024Mi")}
	less := corev1.ResourceRequirements{Limits: amounts("1", "1Gi"), Requests: amounts("1", "1Mi")}
	some := corev1.ResourceRequirements{Requests: amounts("", "1Mi")}
	none := corev1.ResourceRequirements{Requests: amounts("0", "")}
	for name, test := range map[string]struct {
		inits, mains []corev1.ResourceRequirements
		want         corev1.PodQOSClass
	}{
		"limits only":       {nil, []corev1.ResourceRequirements{full, exact}, corev1.PodQOSGuaranteed},
		"less than limits":  {nil, []corev1.ResourceRequirements{full, less}, corev1.PodQOSBurstable},
		"a request":         {nil, []corev1.ResourceRequirements{some, none}, corev1.PodQOSBurstable},
		"nothing":           {nil, []corev1.ResourceRequirements{none, {}}, corev1.PodQOSBestEffort},
		"init asks nothing": {[]corev1.ResourceRequirements{none}, []corev1.ResourceRequirements{full}, corev1.PodQOSBurstable},
	} {
		p := &corev1.Pod{}
		for _, r := range test.inits {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Resources: r})
		}
		for _, r := range test.mains {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Resources: r})
		}
		if got := QOS(p); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	own := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{}}, Resources: &full}}
	if got := QOS(own); got != corev1.PodQOSGuaranteed {
		t.Errorf("by its own limits: %s", got)
	}
	own.Status.QOSClass = corev1.PodQOSBurstable
	if got := QOS(own); got != corev1.PodQOSBurstable {
		t.Errorf("a class that is told became %s", got)
	}
}
