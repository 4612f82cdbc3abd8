package pod

import (
	"encoding/hex"
	"hash/fnv"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Stopping says that a pod is to end.
type Stopping struct {
	// Deadline is when what still runs is killed.
	Deadline time.Time
	// Forced says that there never was a grace period: nothing is given a moment to end by itself.
	Forced bool
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

	// Resize is of a pod whose resources were changed while it runs, and InForce what its containers have meanwhile; nil:
	// what the spec says, which is what was granted.
	Resize  Resize
	InForce map[string]corev1.ResourceRequirements

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

// initAt finds the init container that the pod is at, and whether one has failed for good; it is past the last one when
// all have succeeded or, being sidecars, have started in the sandbox at hand.
func (v *View) initAt() (at int, failed bool) {
	inits := v.Pod.Spec.InitContainers
	if len(inits) == 0 || v.mainsBegan() {
		return len(inits), false
	}
	// The last one that began is what counts: those before it were past their turn then, whatever became of them since.
	for i := len(inits) - 1; i >= 0; i-- {
		c := &inits[i]
		inst := v.newest(c.Name)
		if inst == nil || !v.inSandbox(inst) {
			continue
		}
		if roleOfInit(c) == Sidecar {
			if v.started(c.Name, inst) {
				return i + 1, false
			}
			return i, false
		}
		switch {
		case inst.State != Exited:
			return i, false
		case inst.ExitCode == 0:
			return i + 1, false
		default:
			return i, !restarts(v.Pod, c, Init, inst.ExitCode)
		}
	}
	return 0, false
}

// initialized reports whether every init container has done its part in the sandbox at hand, and whether one has failed
// for good.
func (v *View) initialized() (done, failed bool) {
	at, failed := v.initAt()
	return at == len(v.Pod.Spec.InitContainers), failed
}

// started reports whether the instance runs, its start hook is over and its startup probe has succeeded.
func (v *View) started(name string, inst *Instance) bool {
	m := v.memory(name)
	return inst.State == Running && m.Hook != inst.ID && m.Started
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

// Ended reports whether the containers' own ends have ended the pod, and whether well. Sidecars may still run.
func (v *View) Ended() (ended, succeeded bool) {
	if _, failed := v.initialized(); failed {
		return true, false
	}
	succeeded = true
	for i := range v.Pod.Spec.Containers {
		c := &v.Pod.Spec.Containers[i]
		inst := v.newest(c.Name)
		if inst == nil || inst.State != Exited || restarts(v.Pod, c, Main, inst.ExitCode) {
			return false, false
		}
		succeeded = succeeded && inst.ExitCode == 0
	}
	return true, succeeded
}

// ForgetSandbox takes a sandbox out of the view that the runtime has removed with its containers. What ran in it last is
// remembered: it counts, and what is done is done.
func (v *View) ForgetSandbox(id string) {
	v.Sandboxes = slices.DeleteFunc(slices.Clone(v.Sandboxes), func(s Sandbox) bool { return s.ID == id })
	for name, all := range v.Containers {
		left := slices.DeleteFunc(slices.Clone(all), func(i Instance) bool { return i.SandboxID == id })
		if m := v.Memory[name]; len(left) == 0 && len(all) > 0 && m != nil {
			m.Lost = &all[0]
		}
		v.Containers[name] = left
	}
}

// Restarts reports whether the container of an instance that has ended is to be started again.
func (v *View) Restarts(i *Instance) bool {
	c, role := Find(v.Pod, i.Name)
	return c != nil && restarts(v.Pod, c, role, i.ExitCode)
}
