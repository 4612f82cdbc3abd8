package worker

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/confine"
	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/runtimes"
)

// cgroupMount is where control groups are mounted on every Linux of today.
const cgroupMount = "/sys/fs/cgroup"

// confineSandbox says what the pod's containers of processes share, and which control group holds them.
func (a *actor) confineSandbox(config *runtimev1.LinuxPodSandboxConfig) error {
	security, err := confine.Sandbox(a.view.Pod)
	if err != nil {
		return err
	}
	sysctls, err := confine.Sysctls(a.view.Pod)
	if err != nil {
		return err
	}
	config.SecurityContext, config.Sysctls = security, sysctls
	config.CgroupParent = a.m.groups.Parent(a.uid)
	config.Resources = confine.PodLimits(a.view.Pod)
	return nil
}

// reasonSysctl is that of pods that ask for kernel parameters that no pod may set, as clients of Kubernetes know it.
const reasonSysctl = "SysctlForbidden"

// refuseSysctls ends a pod of containers that asks for kernel parameters which it may not set: waiting would not help it.
func (a *actor) refuseSysctls() bool {
	if a.kinds.pod() == runtimes.KindWasm {
		return false // each of its containers says why it does not start
	}
	_, err := confine.Sysctls(a.view.Pod)
	if err != nil {
		a.stopBy(time.Now(), pod.Why{Reason: reasonSysctl, Message: fmt.Sprintf("Pod was rejected: %v", err)})
	}
	return err != nil
}

// makeGroup makes the control group that bounds the pod's containers of processes together. Wasm guests are bounded by
// their runtime.
func (a *actor) makeGroup() error {
	if a.kinds.pod() == runtimes.KindWasm {
		return nil
	}
	if err := a.m.groups.Make(a.uid, confine.PodLimits(a.view.Pod)); err != nil {
		return fmt.Errorf("make control group of pod: %w", err)
	}
	return nil
}

// removeGroup removes it, when nothing of the pod is left in it: no runtime does.
func (a *actor) removeGroup() {
	if a.kinds == nil || a.kinds.pod() == runtimes.KindWasm || len(a.view.Sandboxes) > 0 {
		return
	}
	if err := a.m.groups.Remove(a.uid); err != nil {
		a.m.log.Warn("control group of a pod was not removed", "pod", a.name(), "error", err)
	}
}

// removeOrphanGroups removes the control groups of pods that neither the API nor a runtime knows any more: of those that
// ended while no worker ran.
func (m *manager) removeOrphanGroups(held map[types.UID]found) {
	if m.cfg.ContainerdEndpoint == "" {
		return // Wasm guests are in groups of their runtime's
	}
	for _, uid := range m.groups.Pods() {
		if _, runs := held[uid]; runs || m.actor(uid) != nil {
			continue
		}
		if err := m.groups.Remove(uid); err != nil {
			m.log.Warn("control group of a pod that is gone was not removed", "uid", uid, "error", err)
		}
	}
}
