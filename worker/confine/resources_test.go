package confine

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i+1 < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func needs(requests, limits corev1.ResourceList) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: requests, Limits: limits}
}

func podOf(containers ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: containers}}
}

func TestLimits(t *testing.T) {
	for name, test := range map[string]struct {
		r                     corev1.ResourceRequirements
		shares, quota, memory int64
	}{
		"nothing":      {needs(nil, nil), 2, 0, 0},
		"requests":     {needs(list("cpu", "250m", "memory", "1Gi"), nil), 256, 0, 0},
		"limits":       {needs(nil, list("cpu", "500m", "memory", "64Mi")), 512, 50_000, 64 << 20},
		"both":         {needs(list("cpu", "1"), list("cpu", "2")), 1024, 200_000, 0},
		"tiny":         {needs(list("cpu", "1m"), list("cpu", "1m")), 2, 1000, 0},
		"huge":         {needs(list("cpu", "1000"), nil), 262144, 0, 0},
		"no cpu limit": {needs(nil, list("cpu", "0")), 2, 0, 0},
	} {
		got := Limits(&test.r)
		if got.CpuShares != test.shares || got.CpuQuota != test.quota || got.MemoryLimitInBytes != test.memory || (got.CpuPeriod == 0) != (test.quota == 0) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestContainersOfABoundedPod are bounded as the pod is, where they do not say otherwise.
func TestContainersOfABoundedPod(t *testing.T) {
	pod := needs(list("cpu", "1"), list("cpu", "500m", "memory", "50Mi"))
	for name, test := range map[string]struct {
		pod                   *corev1.ResourceRequirements
		r                     corev1.ResourceRequirements
		shares, quota, memory int64
	}{
		"no bounds":     {nil, needs(nil, nil), 2, 0, 0},
		"the pod's":     {&pod, needs(nil, nil), 2, 50_000, 50 << 20},
		"its own":       {&pod, needs(nil, list("cpu", "250m", "memory", "20Mi")), 256, 25_000, 20 << 20},
		"one of each":   {&pod, needs(list("cpu", "100m"), list("memory", "20Mi")), 102, 50_000, 20 << 20},
		"requests only": {&corev1.ResourceRequirements{Requests: list("memory", "1Gi")}, needs(nil, nil), 2, 0, 0},
	} {
		p := podOf(corev1.Container{Resources: test.r})
		p.Spec.Resources = test.pod
		got := ContainerLimits(p, &p.Spec.Containers[0])
		if got.CpuShares != test.shares || got.CpuQuota != test.quota || got.MemoryLimitInBytes != test.memory || (got.CpuPeriod == 0) != (test.quota == 0) {
			t.Errorf("%s: %v", name, got)
		}
		if of := Resources(p, &p.Spec.Containers[0], 0); of.MemoryLimitInBytes != test.memory || of.CpuQuota != test.quota {
			t.Errorf("%s, a process: %v", name, of)
		}
	}
}

func TestHugePages(t *testing.T) {
	c := corev1.Container{Resources: needs(nil, list("hugepages-2Mi", "100Mi", "hugepages-1Gi", "2Gi", "hugepages-64Ki", "64Ki"))}
	got := Resources(podOf(c), &c, 0).HugepageLimits
	if len(got) != 3 || got[0].PageSize != "1GB" || got[0].Limit != 2<<30 || got[1].PageSize != "2MB" || got[2].PageSize != "64KB" {
		t.Errorf("limits = %v", got)
	}
}

func TestOOMScores(t *testing.T) {
	const machine = 8 << 30
	guaranteed := corev1.Container{Resources: needs(nil, list("cpu", "1", "memory", "1Gi"))}
	half := corev1.Container{Resources: needs(list("memory", "4Gi"), nil)}
	tiny := corev1.Container{Resources: needs(list("memory", "1"), nil)}
	all := corev1.Container{Resources: needs(list("memory", "80Gi"), nil)}
	critical := podOf(tiny)
	critical.Spec.Priority = ptr.To[int32](2_000_000_000)
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want int64
	}{
		"guaranteed":  {podOf(guaranteed), -997},
		"best effort": {podOf(corev1.Container{}), 1000},
		"half of it":  {podOf(half), 500},
		"tiny":        {podOf(tiny), 999},
		"too much":    {podOf(all), 3},
		"critical":    {critical, -997},
	} {
		if got := Resources(test.pod, &test.pod.Spec.Containers[0], machine).OomScoreAdj; got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	if got := Resources(podOf(half), &half, 0).OomScoreAdj; got != 999 {
		t.Errorf("on a machine of unknown size: %d", got)
	}
}

func TestPodLimits(t *testing.T) {
	a := corev1.Container{Name: "a", Resources: needs(list("cpu", "100m"), list("cpu", "1", "memory", "100Mi"))}
	b := corev1.Container{Name: "b", Resources: needs(list("cpu", "200m"), list("cpu", "1", "memory", "200Mi"))}
	free := corev1.Container{Name: "free"}
	big := corev1.Container{Name: "big", Resources: needs(nil, list("cpu", "5", "memory", "1Gi"))}
	side := corev1.Container{Name: "side", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), Resources: needs(nil, list("cpu", "1", "memory", "10Mi"))}
	withInits := podOf(a, b)
	withInits.Spec.InitContainers = []corev1.Container{side, big}
	own := podOf(a, free)
	own.Spec.Resources = &corev1.ResourceRequirements{Requests: list("cpu", "500m"), Limits: list("cpu", "3", "memory", "1Gi")}
	over := podOf(a)
	over.Spec.Overhead = list("cpu", "100m", "memory", "28Mi")
	for name, test := range map[string]struct {
		pod                   *corev1.Pod
		shares, quota, memory int64
	}{
		"two":           {podOf(a, b), 307, 200_000, 300 << 20},
		"one unbounded": {podOf(a, free), 102, 0, 0},
		"nothing":       {podOf(free), 2, 0, 0},
		"init":          {withInits, 6 * 1024, 600_000, 1<<30 + 10<<20},
		"its own":       {own, 512, 300_000, 1 << 30},
		"overhead":      {over, 204, 110_000, 128 << 20},
	} {
		got := PodLimits(test.pod)
		if got.CpuShares != test.shares || got.CpuQuota != test.quota || got.MemoryLimitInBytes != test.memory {
			t.Errorf("%s: %v", name, got)
		}
	}
}
