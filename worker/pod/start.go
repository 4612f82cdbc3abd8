package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// nextStart starts the next container that is to run and does not: ephemeral ones wait for nobody, init containers for
// the one before them, main ones for all of those. wake is when it has to be asked again.
func nextStart(v *View, now time.Time, wake *time.Time) (Step, bool) {
	for c, role := range Containers(v.Pod) {
		if role != Ephemeral {
			continue
		}
		if step, ok := nextOf(v, c, role, now, wake); ok {
			return step, true
		}
	}
	at, _ := v.initAt()
	for i := range v.Pod.Spec.InitContainers {
		c := &v.Pod.Spec.InitContainers[i]
		role := roleOfInit(c)
		if i > at || i < at && role != Sidecar {
			continue // not its turn yet, or done
		}
		if step, ok := nextOf(v, c, role, now, wake); ok {
			return step, true
		}
	}
	if at < len(v.Pod.Spec.InitContainers) {
		return Step{}, false
	}
	for i := range v.Pod.Spec.Containers {
		c := &v.Pod.Spec.Containers[i]
		if step, ok := nextOf(v, c, Main, now, wake); ok {
			return step, true
		}
		if v.hooked(c.Name) {
			return Step{}, false
		}
	}
	return Step{}, false
}

// hooked reports whether the container's start hook is under way: those after it wait for its end.
func (v *View) hooked(name string) bool {
	inst := v.Newest(name)
	return inst != nil && inst.State == Running && v.memory(name).Hook == inst.ID
}

// nextOf starts one container if its time has come, and else notes in wake when it will.
func nextOf(v *View, c *corev1.Container, role Role, now time.Time, wake *time.Time) (Step, bool) {
	m := v.memory(c.Name)
	inst := v.newest(c.Name)
	step := Step{Kind: StartContainer, Container: c}
	at := m.RetryAt
	switch {
	case inst == nil:
	case inst.State == Created && v.inSandbox(inst) && inst.Hash == SpecHash(c):
		step.ID, step.Attempt = inst.ID, inst.Attempt
	case inst.State == Running && v.inSandbox(inst), inst.State == Unknown:
		return Step{}, false
	case inst.State == Exited && v.mayNotRunAgain(c, role, inst):
		return Step{}, false
	case role == Ephemeral && inst.State != Created:
		return Step{}, false // its sandbox is gone, and with it what it was to look into
	default:
		at = later(at, inst.Finished.Add(m.RestartDelay()))
		step.Attempt = inst.Attempt + 1
	}
	if now.Before(at) {
		if wake.IsZero() || at.Before(*wake) {
			*wake = at
		}
		return Step{}, false
	}
	return step, true
}

// mayNotRunAgain reports whether the instance's end is the container's. What an init container did it did for a sandbox:
// in the next one it runs again, if any of the main ones does.
func (v *View) mayNotRunAgain(c *corev1.Container, role Role, inst *Instance) bool {
	if role == Init && !v.inSandbox(inst) {
		return false
	}
	return !restarts(v.Pod, c, role, inst.ExitCode)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
