package confine

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/pod"
)

// The units of the CPU controller: shares that a whole CPU weighs, and the period that a quota is of, in microseconds.
const (
	sharesPerCPU = 1024
	minShares    = 2
	maxShares    = 262144
	quotaPeriod  = 100_000
	minQuota     = 1_000
)

// Scores by which the kernel chooses whom to kill when memory is short: the higher, the sooner.
const (
	guaranteedScore = -997
	bestEffortScore = 1000
	// criticalPriority is from where on pods are needed by the cluster itself.
	criticalPriority = 2_000_000_000
)

// Limits are the bounds of a container, or of a pod as a whole: of Wasm as of processes.
func Limits(r *corev1.ResourceRequirements) *runtimev1.LinuxContainerResources {
	out := &runtimev1.LinuxContainerResources{}
	if memory, ok := r.Limits[corev1.ResourceMemory]; ok {
		out.MemoryLimitInBytes = memory.Value()
	}
	cpu, ok := r.Requests[corev1.ResourceCPU]
	limit := r.Limits[corev1.ResourceCPU]
	if !ok {
		cpu = limit
	}
	out.CpuShares = shares(cpu)
	if !limit.IsZero() {
		out.CpuPeriod = quotaPeriod
		out.CpuQuota = max(minQuota, limit.MilliValue()*quotaPeriod/1000)
	}
	return out
}

// ContainerLimits are those of a container of the pod: what it does not bound itself is bounded as the pod as a whole, so
// that a program that looks at its own limit finds one.
func ContainerLimits(p *corev1.Pod, c *corev1.Container) *runtimev1.LinuxContainerResources {
	out := Limits(&c.Resources)
	if p.Spec.Resources == nil {
		return out
	}
	whole := Limits(p.Spec.Resources)
	if out.MemoryLimitInBytes == 0 {
		out.MemoryLimitInBytes = whole.MemoryLimitInBytes
	}
	if out.CpuQuota == 0 {
		out.CpuPeriod, out.CpuQuota = whole.CpuPeriod, whole.CpuQuota
	}
	return out
}

func shares(cpu resource.Quantity) int64 {
	return min(maxShares, max(minShares, cpu.MilliValue()*sharesPerCPU/1000))
}

// Resources are ContainerLimits with what else holds for processes: huge pages, and how soon the kernel may kill it, on a machine
// of so much memory.
func Resources(p *corev1.Pod, c *corev1.Container, memory int64) *runtimev1.LinuxContainerResources {
	out := ContainerLimits(p, c)
	out.OomScoreAdj = oomScore(p, c, memory)
	for name, limit := range c.Resources.Limits {
		if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
			if q, err := resource.ParseQuantity(size); err == nil && limit.Value() > 0 {
				out.HugepageLimits = append(out.HugepageLimits, &runtimev1.HugepageLimit{PageSize: pageSize(q), Limit: uint64(limit.Value())})
			}
		}
	}
	slices.SortFunc(out.HugepageLimits, func(a, b *runtimev1.HugepageLimit) int { return strings.Compare(a.PageSize, b.PageSize) })
	return out
}

// pageSize is the size of a huge page as control groups write it: 2MB, 1GB.
func pageSize(q resource.Quantity) string {
	size, unit := q.Value(), 0
	for units := "KMGT"; size >= 1024 && size%1024 == 0 && unit < len(units); unit++ {
		size /= 1024
	}
	names := []string{"B", "KB", "MB", "GB", "TB"}
	return strconv.FormatInt(size, 10) + names[unit]
}

// oomScore is lower the more of the machine's memory the container has asked for.
func oomScore(p *corev1.Pod, c *corev1.Container, memory int64) int64 {
	if p.Spec.Priority != nil && *p.Spec.Priority >= criticalPriority {
		return guaranteedScore
	}
	switch pod.QOS(p) {
	case corev1.PodQOSGuaranteed:
		return guaranteedScore
	case corev1.PodQOSBestEffort:
		return bestEffortScore
	}
	if memory <= 0 {
		return bestEffortScore - 1
	}
	request := c.Resources.Requests[corev1.ResourceMemory]
	score := bestEffortScore - bestEffortScore*request.Value()/memory
	return min(bestEffortScore-1, max(bestEffortScore+guaranteedScore, score))
}
