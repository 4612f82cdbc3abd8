package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/env"
	"github.com/petrelrun/petrel/worker/logrotate"
	"github.com/petrelrun/petrel/worker/pod"
)

// do carries out one step. An error is the runtime's; what is the pod's own fault goes into its view.
func (a *actor) do(ctx context.Context, step pod.Step) error {
	switch step.Kind {
	case pod.MakeVolumes:
		return a.makeVolumes(ctx)
	case pod.RunSandbox:
		return a.runSandbox(ctx, step)
	case pod.StartContainer:
		return a.startContainer(ctx, step)
	case pod.KillContainers:
		return a.killContainers(ctx, step)
	case pod.RemoveContainer:
		return a.removeContainer(ctx, step)
	case pod.StopSandbox:
		return a.stopSandbox(ctx, step.ID)
	case pod.RemoveSandbox:
		return a.removeSandbox(ctx, step.ID)
	case pod.RemoveVolumes:
		return a.removeVolumes(ctx)
	default:
		return fmt.Errorf("no such step: %d", step.Kind)
	}
}

func (a *actor) source() env.Source {
	return &references{client: a.m.cfg.Client, dir: a.m.paths.refs(a.uid), secrets: a.secretRefs}
}

func (a *actor) facts() env.Facts {
	facts := env.Facts{HostIP: a.m.cfg.NodeIPs[0].String(), Allocatable: a.m.allocatable()}
	if s := a.view.Sandbox(); s != nil {
		facts.PodIP, facts.PodIPs = s.IP, s.IPs
	}
	return facts
}

// holdBack keeps the whole pod for a while and says why.
func (a *actor) holdBack(d time.Duration, reason string, err error) {
	if a.view.Why.Message != err.Error() { // once, not with every attempt
		a.m.events.warn(a.view.Pod, "", reason, "%v", err)
	}
	a.view.Why = pod.Why{Reason: reason, Message: err.Error()}
	a.view.RetryAt = time.Now().Add(d)
}

// nextRetry is the pause after a failure that is the pod's own.
func (a *actor) nextRetry() time.Duration {
	a.retry = min(max(2*a.retry, 2*runtimeRetry), runtimeRetryMax)
	return a.retry
}

// killContainers stops instances beside each other, each within the grace period.
func (a *actor) killContainers(ctx context.Context, step pod.Step) error {
	var wg sync.WaitGroup
	failures := make([]error, len(step.Instances))
	for n, inst := range step.Instances {
		message := step.Message
		if message == "" {
			message = "Stopping container " + inst.Name
		}
		a.m.events.everyday(a.view.Pod, inst.Name, eventKilling, "%s", message)
		a.expectEnd(inst.ID)
		stop := a.stopper(inst, step.Grace)
		wg.Go(func() { failures[n] = stop(ctx) })
	}
	wg.Wait()
	if err := errors.Join(failures...); err != nil {
		a.suspectLater()
		if ctx.Err() == nil && !cri.IsUnavailable(err) {
			a.m.events.warn(a.view.Pod, "", eventFailedKill, "%v", err)
		}
		return err
	}
	for _, inst := range step.Instances {
		if err := a.refresh(ctx, inst.Name, inst.ID, inst.SandboxID); err != nil {
			a.suspectLater()
			return err
		}
	}
	a.afterChange()
	return nil
}

// refresh asks for one container and puts it into the view.
func (a *actor) refresh(ctx context.Context, name, id, sandboxID string) error {
	status, _, err := a.m.rt.ContainerStatus(ctx, id, false)
	if err != nil {
		return err
	}
	inst := instanceOf(status, sandboxID)
	a.explain(&inst)
	a.put(name, inst)
	return nil
}

func (a *actor) put(name string, inst pod.Instance) {
	if old := knownInstance(&a.view.Observed, name, inst.ID); old != nil {
		*old = inst
		return
	}
	a.view.Containers[name] = append(a.view.Containers[name], inst)
	a.view.Sort()
}

func (a *actor) removeContainer(ctx context.Context, step pod.Step) error {
	if err := a.m.rt.RemoveContainer(ctx, step.ID); err != nil {
		return err
	}
	name := step.Container.Name
	kept := a.view.Containers[name][:0:0]
	for _, i := range a.view.Containers[name] {
		if i.ID != step.ID {
			kept = append(kept, i)
		}
	}
	a.view.Containers[name] = kept
	if err := logrotate.Remove(a.m.paths.logs(a.view.Pod) + "/" + logName(name, step.Attempt)); err != nil {
		a.m.log.Warn("old log was not removed", "pod", a.name(), "error", err)
	}
	if !a.wasm(name) {
		a.forgetLastWords(name, step.Attempt)
	}
	return nil
}

func (a *actor) stopSandbox(ctx context.Context, id string) error {
	a.expectEnd(id)
	if err := a.m.rt.StopPodSandbox(ctx, id); err != nil {
		a.suspectLater()
		return err
	}
	if s := knownSandbox(&a.view.Observed, id); s != nil {
		s.Ready, s.Stopped = false, true
	}
	// A pod that goes on keeps its address for its next sandbox: endpoints name it until they are told otherwise, and
	// must not lead to another pod meanwhile.
	ended, _ := a.view.Ended()
	if a.view.Sandbox() == nil && (ended || a.view.Over || a.view.Stopping != nil) {
		a.freeAddresses()
	}
	a.openHostPorts()
	return nil
}

func (a *actor) removeSandbox(ctx context.Context, id string) error {
	if err := a.m.rt.RemovePodSandbox(ctx, id); err != nil {
		return err
	}
	a.view.ForgetSandbox(id)
	a.removeGroup()
	return nil
}
