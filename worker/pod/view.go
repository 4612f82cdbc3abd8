package pod

import (
	"encoding/hex"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Stopping says that a pod is to end.
type Stopping struct {
	// Deadline is when what still runs is killed.
	Deadline time.Time
	// Why goes into the status of a pod that the worker ended by itself; empty for a deletion.
	Why Why
}

// View is everything that Next and Status judge by.
type View struct {
	Pod *corev1.Pod
	Observed
	Memory map[string]*Memory // by container name; one for each container of the spec

	// Prepared says that the volumes are there.
	Prepared bool
	// RetryAt holds everything back after the sandbox or the volumes failed; Why says how.
	RetryAt time.Time
	Why     Why
	// Stopping is nil while the pod is to run.
	Stopping *Stopping
	// Over says that the pod has ended for good, whatever the runtime still remembers of it.
	Over bool
	// Told says that the API has the status of the pod's end.
	Told bool

	// Failure is the guest's last; nil for one that never failed while this worker ran.
	Failure *Failure

	// Last is the status that was last told, which the API may not have yet; nil for none.
	Last *corev1.PodStatus

	HostIP      string
	RuntimeName string
}

// last is the status that times of what has not changed come from.
func (v *View) last() *corev1.PodStatus {
	if v.Last != nil {
		return v.Last
	}
	return &v.Pod.Status
}

func (v *View) memory(name string) *Memory {
	if m := v.Memory[name]; m != nil {
		return m
	}
	return &Memory{}
}

// newest is the last attempt at the container, also when the runtime has lost it.
func (v *View) newest(name string) *Instance {
	if i := v.Newest(name); i != nil {
		return i
	}
	return v.memory(name).Lost
}

// SpecHash tells two versions of a container apart, so far as the API lets a pod's container change: by its image.
func SpecHash(c *corev1.Container) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.Name + "\x00" + c.Image))
	return hex.EncodeToString(h.Sum(nil))
}

// Grace is the pod's own termination grace period.
func Grace(p *corev1.Pod) time.Duration {
	const unset = 30 * time.Second // the API's default
	switch {
	case p.DeletionGracePeriodSeconds != nil:
		return time.Duration(*p.DeletionGracePeriodSeconds) * time.Second
	case p.Spec.TerminationGracePeriodSeconds != nil:
		return time.Duration(*p.Spec.TerminationGracePeriodSeconds) * time.Second
	default:
		return unset
	}
}

// restarts reports whether a container that ended with the code is to be started again.
func restarts(policy corev1.RestartPolicy, code int32) bool {
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	default:
		return true
	}
}

// initRestarts is restarts for init containers: one that succeeded is done under any policy.
func initRestarts(policy corev1.RestartPolicy, code int32) bool {
	return code != 0 && policy != corev1.RestartPolicyNever
}

// initialized reports whether every init container has succeeded in the sandbox at hand, and whether one has failed
// for good.
func (v *View) initialized() (done, failed bool) {
	if len(v.Pod.Spec.InitContainers) == 0 {
		return true, false
	}
	if v.mainsBegan() {
		return true, false
	}
	for i := range v.Pod.Spec.InitContainers {
		inst := v.newest(v.Pod.Spec.InitContainers[i].Name)
		switch {
		case inst == nil || inst.State != Exited || !v.inSandbox(inst):
			return false, inst != nil && inst.State == Exited && inst.ExitCode != 0 && v.Pod.Spec.RestartPolicy == corev1.RestartPolicyNever
		case inst.ExitCode != 0:
			return false, v.Pod.Spec.RestartPolicy == corev1.RestartPolicyNever
		}
	}
	return true, false
}

// mainsBegan reports whether a main container was ever started in the sandbox at hand.
func (v *View) mainsBegan() bool {
	for i := range v.Pod.Spec.Containers {
		if inst := v.newest(v.Pod.Spec.Containers[i].Name); inst != nil && v.inSandbox(inst) {
			return true
		}
	}
	return false
}

// inSandbox reports whether the instance belongs to the newest sandbox, or whether there is none to compare with.
func (v *View) inSandbox(i *Instance) bool {
	return len(v.Sandboxes) == 0 || i.SandboxID == v.Sandboxes[0].ID
}

// Ended reports whether the containers' own ends have ended the pod, and whether well.
func (v *View) Ended() (ended, succeeded bool) {
	if _, failed := v.initialized(); failed {
		return true, false
	}
	succeeded = true
	for i := range v.Pod.Spec.Containers {
		inst := v.newest(v.Pod.Spec.Containers[i].Name)
		if inst == nil || inst.State != Exited || restarts(v.Pod.Spec.RestartPolicy, inst.ExitCode) {
			return false, false
		}
		succeeded = succeeded && inst.ExitCode == 0
	}
	return true, succeeded
}
