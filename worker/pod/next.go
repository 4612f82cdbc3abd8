package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Kind is what a step does.
type Kind int

// The steps of a pod's life.
const (
	// Wait does nothing until Step.At, or until something changes when that is zero.
	Wait Kind = iota
	// MakeVolumes writes the pod's volumes and its log directory.
	MakeVolumes
	// RunSandbox makes a sandbox with the given Attempt.
	RunSandbox
	// StartContainer gets the image, creates the container when ID is empty, and starts it.
	StartContainer
	// KillContainers stops Instances within Grace.
	KillContainers
	// RemoveContainer forgets an old instance, ID, of Container.
	RemoveContainer
	// StopSandbox stops the sandbox ID and frees its address.
	StopSandbox
	// RemoveSandbox removes the sandbox ID with its containers.
	RemoveSandbox
	// RemoveVolumes takes away what MakeVolumes made, but for the logs.
	RemoveVolumes
	// Finished says that nothing of the pod is left to stop or to remove.
	Finished
)

// Step is the one thing to do next.
type Step struct {
	Kind      Kind
	At        time.Time
	ID        string
	Container *corev1.Container
	Attempt   int32
	Instances []Instance
	Grace     time.Duration
	// Message explains a kill to the pod's events.
	Message string
}

// Next says what is to be done now. Every step, once done, changes the view so that another follows.
func Next(v *View, now time.Time) Step {
	if v.Stopping != nil {
		return nextStopping(v, now)
	}
	if ended, _ := v.Ended(); ended || v.Over {
		return nextEnded(v)
	}
	if now.Before(v.RetryAt) {
		return Step{Kind: Wait, At: v.RetryAt}
	}
	if !v.Prepared {
		return Step{Kind: MakeVolumes}
	}
	if step, ok := nextSandbox(v); ok {
		return step
	}
	if step, ok := nextKill(v); ok {
		return step
	}
	wake := time.Time{}
	if done, _ := v.initialized(); !done {
		if step, ok := nextInit(v, now, &wake); ok {
			return step
		}
		return Step{Kind: Wait, At: wake}
	}
	if step, ok := nextMain(v, now, &wake); ok {
		return step
	}
	if step, ok := nextGarbage(v); ok {
		return step
	}
	return Step{Kind: Wait, At: wake}
}

// keptSandboxes are the ready one and the one before it, whose containers tell the last state and the restarts.
const keptSandboxes = 2

func nextSandbox(v *View) (Step, bool) {
	if v.Sandbox() == nil {
		attempt := int32(0)
		if len(v.Sandboxes) > 0 {
			attempt = int32(v.Sandboxes[0].Attempt) + 1
		}
		return Step{Kind: RunSandbox, Attempt: attempt}, true
	}
	for _, old := range v.Sandboxes[1:] {
		if old.Ready {
			return Step{Kind: StopSandbox, ID: old.ID}, true
		}
	}
	if n := len(v.Sandboxes); n > keptSandboxes {
		return Step{Kind: RemoveSandbox, ID: v.Sandboxes[n-1].ID}, true
	}
	return Step{}, false
}

// nextKill ends containers that a probe has condemned or whose spec has changed.
func nextKill(v *View) (Step, bool) {
	for i := range v.Pod.Spec.Containers {
		c := &v.Pod.Spec.Containers[i]
		inst := v.Newest(c.Name)
		if inst == nil || inst.State != Running {
			continue
		}
		m := v.memory(c.Name)
		switch {
		case m.Condemned == inst.ID:
			return Step{Kind: KillContainers, Container: c, Instances: []Instance{*inst}, Grace: m.Grace, Message: m.Why}, true
		case inst.Hash != "" && inst.Hash != SpecHash(c):
			return Step{
				Kind: KillContainers, Container: c, Instances: []Instance{*inst}, Grace: Grace(v.Pod),
				Message: "Container " + c.Name + " definition changed, will be restarted",
			}, true
		}
	}
	return Step{}, false
}

// nextInit runs init containers one after the other.
func nextInit(v *View, now time.Time, wake *time.Time) (Step, bool) {
	for i := range v.Pod.Spec.InitContainers {
		c := &v.Pod.Spec.InitContainers[i]
		inst := v.newest(c.Name)
		if inst != nil && v.inSandbox(inst) && inst.State == Exited && inst.ExitCode == 0 {
			continue
		}
		return nextOf(v, c, now, wake, initRestarts)
	}
	return Step{}, false
}

// nextMain starts every main container that is to run and does not.
func nextMain(v *View, now time.Time, wake *time.Time) (Step, bool) {
	for i := range v.Pod.Spec.Containers {
		if step, ok := nextOf(v, &v.Pod.Spec.Containers[i], now, wake, restarts); ok {
			return step, true
		}
	}
	return Step{}, false
}

type restartRule func(corev1.RestartPolicy, int32) bool

// nextOf starts one container if its time has come, and else notes in wake when it will.
func nextOf(v *View, c *corev1.Container, now time.Time, wake *time.Time, again restartRule) (Step, bool) {
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
	case inst.State == Exited && v.inSandbox(inst):
		if !again(v.Pod.Spec.RestartPolicy, inst.ExitCode) {
			return Step{}, false
		}
		at = later(at, inst.Finished.Add(m.RestartDelay()))
		step.Attempt = inst.Attempt + 1
	case inst.State == Exited && !again(v.Pod.Spec.RestartPolicy, inst.ExitCode) && !isInit(v.Pod, c.Name):
		return Step{}, false // done in a sandbox that is gone
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

func isInit(p *corev1.Pod, name string) bool {
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Name == name {
			return true
		}
	}
	return false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// keptInstances are the newest and the one whose end it tells as its last state.
const keptInstances = 2

func nextGarbage(v *View) (Step, bool) {
	for name, instances := range v.Containers {
		for _, i := range instances[min(keptInstances, len(instances)):] {
			if i.State != Running {
				return Step{Kind: RemoveContainer, ID: i.ID, Container: &corev1.Container{Name: name}, Attempt: i.Attempt}, true
			}
		}
	}
	return Step{}, false
}
