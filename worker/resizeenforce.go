package worker

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/confine"
	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/runtimes"
)

// enforce has the pod's containers be bounded by what was granted. The pod as a whole is bounded by the looser of both
// until they are.
func (a *actor) enforce(ctx context.Context) error {
	r := a.resize
	if r.InForce.equal(r.Granted) {
		return nil
	}
	before := r.InForce.in(a.view.Pod)
	whole := a.view.Sandbox() != nil && a.kinds != nil && a.kinds.pod() != runtimes.KindWasm
	if whole {
		if err := a.m.groups.Make(a.uid, looser(confine.PodLimits(before), confine.PodLimits(a.view.Pod))); err != nil {
			return fmt.Errorf("set limits of pod: %w", err)
		}
	}
	waits := false
	for c := range pod.Containers(a.view.Pod) {
		granted, resizable := r.Granted.Containers[c.Name]
		if !resizable {
			continue
		}
		inst := a.view.Newest(c.Name)
		if inst != nil && inst.State == pod.Running {
			at, err := a.resizeContainer(ctx, before, c, inst)
			if err != nil {
				return err
			}
			if !at {
				waits = true
				continue
			}
		}
		r.InForce.Containers[c.Name] = granted
	}
	if waits {
		a.keepResize()
		return nil
	}
	if whole {
		if err := a.makeGroup(); err != nil {
			return err
		}
	}
	r.InForce = r.Granted.clone()
	a.keepResize()
	return nil
}

// resizeContainer gives one container what was granted; false while it has to be started again for that.
func (a *actor) resizeContainer(ctx context.Context, before *corev1.Pod, c *corev1.Container, inst *pod.Instance) (bool, error) {
	was, _ := pod.Find(before, c.Name)
	had, wants := confine.ContainerLimits(before, was), confine.ContainerLimits(a.view.Pod, c)
	if proto.Equal(had, wants) {
		return true, nil
	}
	if restartsFor(c, had, wants) {
		if m := a.view.Memory[c.Name]; m.Condemned != inst.ID {
			m.Condemned, m.Grace, m.Why = inst.ID, pod.Grace(a.view.Pod), "Container "+c.Name+" resize requires restart"
		}
		return false, nil
	}
	if err := a.roomFor(ctx, c, had, wants); err != nil {
		return false, err
	}
	if err := a.m.rt.UpdateContainerResources(ctx, inst.ID, wants); err != nil {
		return false, fmt.Errorf("container %s: %w", c.Name, err)
	}
	return true, nil
}

// restartsFor tells whether the container's resize policy wants it started again for what changes.
func restartsFor(c *corev1.Container, had, wants *runtimev1.LinuxContainerResources) bool {
	for _, p := range c.ResizePolicy {
		if p.RestartPolicy != corev1.RestartContainer {
			continue
		}
		switch p.ResourceName {
		case corev1.ResourceMemory:
			if had.MemoryLimitInBytes != wants.MemoryLimitInBytes {
				return true
			}
		case corev1.ResourceCPU:
			if had.CpuShares != wants.CpuShares || had.CpuQuota != wants.CpuQuota {
				return true
			}
		}
	}
	return false
}

// roomFor refuses to bound a container's memory to less than it has: the kernel would kill it.
func (a *actor) roomFor(ctx context.Context, c *corev1.Container, had, wants *runtimev1.LinuxContainerResources) error {
	if wants.MemoryLimitInBytes == 0 || had.MemoryLimitInBytes != 0 && wants.MemoryLimitInBytes >= had.MemoryLimitInBytes {
		return nil
	}
	reading, err := a.m.usage.ReadNow(ctx)
	if err != nil {
		return fmt.Errorf("measure container %s: %w", c.Name, err)
	}
	for i := range reading.Containers {
		one := &reading.Containers[i]
		if one.Pod.UID == string(a.uid) && one.Name == c.Name && one.Memory.Working != nil && int64(*one.Memory.Working) > wants.MemoryLimitInBytes {
			return fmt.Errorf("container %s: attempting to set its memory limit (%d) below its current usage (%d)", c.Name, wants.MemoryLimitInBytes, *one.Memory.Working)
		}
	}
	return nil
}

// looser are the larger of two bounds; none is the largest.
func looser(a, b *runtimev1.LinuxContainerResources) *runtimev1.LinuxContainerResources {
	most := func(x, y int64) int64 {
		if x == 0 || y == 0 {
			return 0
		}
		return max(x, y)
	}
	out := &runtimev1.LinuxContainerResources{
		CpuShares: max(a.GetCpuShares(), b.GetCpuShares()), CpuPeriod: max(a.GetCpuPeriod(), b.GetCpuPeriod()),
		CpuQuota: most(a.GetCpuQuota(), b.GetCpuQuota()), MemoryLimitInBytes: most(a.GetMemoryLimitInBytes(), b.GetMemoryLimitInBytes()),
	}
	return out
}

// startedResized notes that a new instance of a container has what was granted.
func (a *actor) startedResized(name string) {
	if r := a.resize; r != nil {
		r.InForce.Containers[name] = r.Granted.Containers[name]
	}
}
