package stats

import (
	"context"
	"strconv"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Labels by which containers are known to be of a pod, as every kubelet sets them.
const (
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelContainerName = "io.kubernetes.container.name"
)

// Runtime is what is asked of each container runtime. worker/cri is it.
type Runtime interface {
	// EachContainerStats hands over what every running container takes.
	EachContainerStats(ctx context.Context, filter *runtimev1.ContainerStatsFilter, handle func(*runtimev1.ContainerStats)) error
	// ListPodSandboxStats tells of sandboxes' networks; a runtime may lack it.
	ListPodSandboxStats(ctx context.Context, filter *runtimev1.PodSandboxStatsFilter) ([]*runtimev1.PodSandboxStats, error)
}

// Source is a runtime, and what it counts.
type Source struct {
	Runtime Runtime
	// Networks says that its pods have networks of their own, of which it counts what goes through.
	Networks bool
}

// Pod names a pod.
type Pod struct{ Namespace, Name, UID string }

// Container is what one container took until Time. What was not measured is nil.
type Container struct {
	Pod       Pod
	Name, ID  string
	Attempt   uint32
	Image     string
	Time      time.Time
	CPUNanos  *uint64
	NanoCores *uint64 // over the reading's window
	Memory    Memory
	Disk      DiskUse // of its writable layer
}

// Memory is in bytes.
type Memory struct{ Usage, Working, RSS, Available, Faults, Major *uint64 }

// DiskUse is what lies on a disk.
type DiskUse struct{ Bytes, Inodes *uint64 }

// Interface is what went through one network interface.
type Interface struct {
	Name                               string
	RxBytes, TxBytes, RxErrors, TxErrs uint64
}

// Reading is one look at everything.
type Reading struct {
	Machine    *Machine
	NanoCores  *uint64 // of the machine, over the window
	Window     time.Duration
	Containers []Container
	Networks   map[string][]Interface // by pod UID
	// Failed is the first error of a runtime whose containers are missing.
	Failed error
}

func valueOf(v *runtimev1.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	n := v.GetValue()
	return &n
}

// containerOf reads a runtime's answer; false for a container that is of no pod.
func containerOf(s *runtimev1.ContainerStats) (Container, bool) {
	a := s.GetAttributes()
	labels := a.GetLabels()
	c := Container{
		Pod:  Pod{Namespace: labels[labelPodNamespace], Name: labels[labelPodName], UID: labels[labelPodUID]},
		Name: labels[labelContainerName], ID: a.GetId(), Attempt: a.GetMetadata().GetAttempt(), Time: time.Now(),
	}
	if c.Pod.UID == "" || c.Name == "" {
		return c, false
	}
	if cpu := s.GetCpu(); cpu != nil {
		c.CPUNanos, c.NanoCores = valueOf(cpu.GetUsageCoreNanoSeconds()), valueOf(cpu.GetUsageNanoCores())
		if cpu.GetTimestamp() > 0 {
			c.Time = time.Unix(0, cpu.GetTimestamp())
		}
	}
	if m := s.GetMemory(); m != nil {
		c.Memory = Memory{
			Usage: valueOf(m.GetUsageBytes()), Working: valueOf(m.GetWorkingSetBytes()), RSS: valueOf(m.GetRssBytes()),
			Available: valueOf(m.GetAvailableBytes()), Faults: valueOf(m.GetPageFaults()), Major: valueOf(m.GetMajorPageFaults()),
		}
	}
	if layer := s.GetWritableLayer(); layer != nil {
		c.Disk = DiskUse{valueOf(layer.GetUsedBytes()), valueOf(layer.GetInodesUsed())}
	}
	return c, true
}

func interfacesOf(s *runtimev1.PodSandboxStats) []Interface {
	var out []Interface
	add := func(i *runtimev1.NetworkInterfaceUsage) {
		if i.GetName() != "" {
			out = append(out, Interface{i.GetName(), i.GetRxBytes().GetValue(), i.GetTxBytes().GetValue(), i.GetRxErrors().GetValue(), i.GetTxErrors().GetValue()})
		}
	}
	network := s.GetLinux().GetNetwork()
	add(network.GetDefaultInterface())
	for _, i := range network.GetInterfaces() {
		if i.GetName() != network.GetDefaultInterface().GetName() {
			add(i)
		}
	}
	return out
}

// key names an instance of a container among all that there ever were.
func (c *Container) key() string { return c.ID + "/" + strconv.FormatUint(uint64(c.Attempt), 10) }
