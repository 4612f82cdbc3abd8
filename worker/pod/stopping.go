package pod

import "time"

// nextStopping ends a pod in order: containers within what is left of the grace period, the sandbox with its address,
// and, once the API knows how it ended, what the runtime still holds of it.
func nextStopping(v *View, now time.Time) Step {
	if running := v.Running(); len(running) > 0 {
		return Step{Kind: KillContainers, Instances: running, Grace: max(0, v.Stopping.Deadline.Sub(now))}
	}
	return nextEnded(v)
}

// nextEnded frees the address at once and keeps the rest until the end is told.
func nextEnded(v *View) Step {
	for _, s := range v.Sandboxes {
		if s.Ready {
			return Step{Kind: StopSandbox, ID: s.ID}
		}
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
