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
		return nextEnded(v, now)
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
	if step, ok := nextStart(v, now, &wake); ok {
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
		if dead := standing(v.Sandboxes); dead != nil {
			return Step{Kind: StopSandbox, ID: dead.ID}, true // what it keeps is in the next one's way
		}
		attempt := int32(0)
		if len(v.Sandboxes) > 0 {
			attempt = int32(v.Sandboxes[0].Attempt) + 1
		}
		return Step{Kind: RunSandbox, Attempt: attempt}, true
	}
	if old := standing(v.Sandboxes[1:]); old != nil {
		return Step{Kind: StopSandbox, ID: old.ID}, true
	}
	if n := len(v.Sandboxes); n > keptSandboxes {
		return Step{Kind: RemoveSandbox, ID: v.Sandboxes[n-1].ID}, true
	}
	return Step{}, false
}

// nextKill ends containers that a probe or a hook has condemned, whose spec has changed, or which the runtime itself has
// lost track of: only one that has ended for certain may be started again.
func nextKill(v *View) (Step, bool) {
	for c, role := range Containers(v.Pod) {
		inst := v.Newest(c.Name)
		if inst == nil || inst.State != Running && inst.State != Unknown {
			continue
		}
		m := v.memory(c.Name)
		switch {
		case inst.State == Unknown:
			return Step{
				Kind: KillContainers, Container: c, Instances: []Instance{*inst}, Grace: Grace(v.Pod),
				Message: "Container " + c.Name + " is in unknown state, will be ended",
			}, true
		case m.Condemned == inst.ID:
			return Step{Kind: KillContainers, Container: c, Instances: []Instance{*inst}, Grace: m.Grace, Message: m.Why}, true
		case role != Main && role != Sidecar:
		case inst.Hash != "" && inst.Hash != SpecHash(c):
			return Step{
				Kind: KillContainers, Container: c, Instances: []Instance{*inst}, Grace: Grace(v.Pod),
				Message: "Container " + c.Name + " definition changed, will be restarted",
			}, true
		}
	}
	return Step{}, false
}

// keptInstances are the newest and the one whose end it tells as its last state.
const keptInstances = 2

func nextGarbage(v *View) (Step, bool) {
	for c := range Containers(v.Pod) {
		instances := v.Containers[c.Name]
		for _, i := range instances[min(keptInstances, len(instances)):] {
			if i.State != Running {
				return Step{Kind: RemoveContainer, ID: i.ID, Container: c, Attempt: i.Attempt}, true
			}
		}
	}
	return Step{}, false
}
