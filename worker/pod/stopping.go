package pod

import "time"

// MinGrace is what a container gets to end by itself when others before it have used up the pod's grace period, unless
// the end is forced.
const MinGrace = 2 * time.Second

// nextStopping ends a pod in order: containers within what is left of the grace period, the sandbox with its address,
// and, once the API knows how it ended, what the runtime still holds of it.
func nextStopping(v *View, now time.Time) Step {
	running := v.Running()
	if len(running) == 0 {
		return nextEnded(v, now)
	}
	left := v.Stopping.Deadline.Sub(now)
	group := v.firstToStop(running)
	switch {
	case v.Stopping.Forced:
		return Step{Kind: KillContainers, Instances: running}
	case len(group) == len(running) && !v.anySidecar(group):
		return Step{Kind: KillContainers, Instances: running, Grace: max(0, left)}
	case left <= 0: // no more time to wait for each other
		return Step{Kind: KillContainers, Instances: running, Grace: MinGrace}
	default:
		return Step{Kind: KillContainers, Instances: group, Grace: left}
	}
}

// nextEnded ends the sidecars of a pod that has ended, frees the address at once and keeps the rest until the end is
// told.
func nextEnded(v *View, now time.Time) Step {
	if running := v.Running(); len(running) > 0 {
		left := v.endedAt(now).Add(Grace(v.Pod)).Sub(now)
		return Step{Kind: KillContainers, Instances: v.firstToStop(running), Grace: max(min(MinGrace, Grace(v.Pod)), left)}
	}
	if s := standing(v.Sandboxes); s != nil {
		return Step{Kind: StopSandbox, ID: s.ID}
	}
	if !v.Told {
		return Step{Kind: Wait}
	}
	for _, s := range v.Sandboxes {
		return Step{Kind: RemoveSandbox, ID: s.ID}
	}
	if v.Prepared {
		return Step{Kind: RemoveVolumes}
	}
	return Step{Kind: Finished}
}

// endedAt is when the last container but the sidecars ended.
func (v *View) endedAt(now time.Time) time.Time {
	last := time.Time{}
	for c, role := range Containers(v.Pod) {
		if inst := v.newest(c.Name); inst != nil && inst.State == Exited && (role == Main || role == Init) {
			last = later(last, inst.Finished)
		}
	}
	if last.IsZero() || last.After(now) {
		return now
	}
	return last
}

// firstToStop is what of the running instances is to be stopped before the rest: everything but sidecars; then the
// sidecars one by one, the last to start first, so that none loses what it relies on.
func (v *View) firstToStop(running []Instance) []Instance {
	var first []Instance
	for _, i := range running {
		if !v.isSidecar(i.Name) {
			first = append(first, i)
		}
	}
	if len(first) > 0 {
		return first
	}
	for n := len(v.Pod.Spec.InitContainers) - 1; n >= 0; n-- {
		for _, i := range running {
			if i.Name == v.Pod.Spec.InitContainers[n].Name {
				first = append(first, i)
			}
		}
		if len(first) > 0 {
			return first
		}
	}
	return running
}

func (v *View) anySidecar(instances []Instance) bool {
	for _, i := range instances {
		if v.isSidecar(i.Name) {
			return true
		}
	}
	return false
}

func (v *View) isSidecar(name string) bool {
	for i := range v.Pod.Spec.InitContainers {
		if c := &v.Pod.Spec.InitContainers[i]; c.Name == name {
			return roleOfInit(c) == Sidecar
		}
	}
	return false
}
