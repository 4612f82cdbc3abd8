package worker

import (
	"context"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/pod"
)

// lookAt takes a listing that is at hand, or asks.
func (a *actor) lookAt(ctx context.Context, at *found) error {
	if at != nil {
		return a.take(ctx, *at)
	}
	return a.look(ctx)
}

// look asks the pod's runtimes what they hold for it: another one that is away is none of its business.
func (a *actor) look(ctx context.Context) error {
	labels := map[string]string{labelPodUID: string(a.uid)}
	var f found
	for _, member := range a.m.members {
		if a.kinds != nil && !a.kinds.anyOf(map[string]bool{member.Name: true}) {
			continue
		}
		sandboxes, err := member.ListPodSandbox(ctx, &runtimev1.PodSandboxFilter{LabelSelector: labels})
		if err != nil {
			return err
		}
		containers, err := member.ListContainers(ctx, &runtimev1.ContainerFilter{LabelSelector: labels})
		if err != nil {
			return err
		}
		f = f.and(found{sandboxes, containers})
	}
	return a.take(ctx, f)
}

// take makes a listing the actor's view.
func (a *actor) take(ctx context.Context, f found) error {
	seen, err := observe(ctx, a.m.rt, f, &a.view.Observed, a.explain)
	if err != nil {
		return err
	}
	now := time.Now()
	if !a.looked {
		a.looked = true
		a.recall(&seen)
	}
	for name, m := range a.view.Memory {
		if was := a.view.Newest(name); was != nil && len(seen.Containers[name]) == 0 {
			lost := *was
			if lost.State != pod.Exited {
				lost.State, lost.ExitCode, lost.Reason, lost.Finished = pod.Exited, lostCode, pod.ReasonUnknown, now
			}
			m.Lost = &lost
		}
	}
	a.view.Observed = seen
	a.openHostPorts()
	a.afterChange()
	return nil
}

// recall finds traces of what the pod ran before this worker did and the runtime has forgotten.
func (a *actor) recall(seen *pod.Observed) {
	for name, m := range a.view.Memory {
		if len(seen.Containers[name]) == 0 {
			m.Lost = a.m.paths.lost(a.view.Pod, name)
		}
	}
}

// lostCode is the exit code of containers whose end nobody saw.
const lostCode = 137

// afterChange follows a change of what the runtime holds: ends are counted, probes begun and stopped.
func (a *actor) afterChange() {
	for name, m := range a.view.Memory {
		before := m.Crashes
		m.ObserveExit(a.view.Newest(name))
		if m.Crashes != before && m.RestartDelay() > 0 {
			a.tellBackOff(name)
		}
	}
	a.adjustHooks()
	a.adjustWatches()
}

// tellBackOff says that a container that ended will not be started again at once, if it will be at all.
func (a *actor) tellBackOff(name string) {
	if ended, _ := a.view.Ended(); ended || a.view.Stopping != nil || a.view.Over {
		return
	}
	if !a.view.Restarts(a.view.Newest(name)) {
		return
	}
	a.m.events.warn(a.view.Pod, name, eventBackOff, "Back-off restarting failed container %s in pod %s_%s(%s)", name, a.view.Pod.Name, a.view.Pod.Namespace, a.uid)
}
