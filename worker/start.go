package worker

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/env"
	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/runtimes"
	"github.com/petrelrun/petrel/worker/volume"
)

// Reasons of containers that could not be started.
const (
	reasonConfig = "CreateContainerConfigError"
	reasonCreate = "CreateContainerError"
	reasonRun    = "RunContainerError"
)

// startContainer gets a container running: image, configuration, creation, start. What fails is remembered for the
// status and tried again by its own back-off.
func (a *actor) startContainer(ctx context.Context, step pod.Step) error {
	c, m := step.Container, a.view.Memory[step.Container.Name]
	sandbox := a.view.Sandbox()
	if decided, err := a.decideKind(ctx, c); !decided || err != nil {
		return err
	}
	config, err := a.sandboxConfig(int32(sandbox.Attempt), strings.Join(sandbox.IPs, ","))
	if err != nil {
		a.misconfigured(c, m, err)
		return nil
	}
	if ok, err := a.image(ctx, c, m, config); !ok || err != nil {
		return err
	}
	release, err := slot(ctx, a.m.starts)
	if err != nil {
		return err
	}
	defer release()
	a.m.metrics.kubelet.startsContainer(a.view.Pod, c.Name)
	id := step.ID
	if id == "" {
		if id, err = a.create(ctx, step, sandbox.ID, config); err != nil || id == "" {
			return err
		}
	}
	if err := a.m.rt.StartContainer(ctx, id); err != nil {
		return a.failedStart(ctx, c, m, reasonRun, err)
	}
	a.m.events.everyday(a.view.Pod, c.Name, eventStarted, "Started container %s", c.Name)
	if step.Attempt > 0 {
		a.m.metrics.restarts.Inc()
	}
	status, info, err := a.m.rt.ContainerStatus(ctx, id, len(a.notes) == 0)
	if err != nil {
		a.suspectLater()
		return err
	}
	m.Succeeded()
	a.takeInfo(info)
	inst := instanceOf(status, sandbox.ID)
	a.explain(&inst)
	a.put(c.Name, inst)
	a.beginHook(c, m, id)
	a.afterChange()
	return nil
}

// misconfigured notes that the pod's configuration keeps the container from running.
func (a *actor) misconfigured(c *corev1.Container, m *pod.Memory, err error) {
	if m.Waiting.Message != err.Error() {
		a.m.events.warn(a.view.Pod, c.Name, eventFailed, "Error: %v", err)
	}
	m.Waiting = pod.Why{Reason: reasonConfig, Message: err.Error()}
	a.m.metrics.kubelet.cannotStart(a.view.Pod, c.Name, reasonConfig)
	m.RetryAt = time.Now().Add(configRetry)
}

// image makes sure that the image is there; false when the container has to wait for it.
func (a *actor) image(ctx context.Context, c *corev1.Container, m *pod.Memory, sandbox *runtimev1.PodSandboxConfig) (bool, error) {
	asked, early := c, a.early[c.Name]
	delete(a.early, c.Name)
	if early && pullPolicy(c) == corev1.PullAlways { // it was pulled already
		asked = c.DeepCopy()
		asked.ImagePullPolicy = corev1.PullIfNotPresent
	}
	present, err := a.m.puller.present(ctx, asked, a.imageHandler(c.Name), a.keyring)
	switch {
	case never(err):
		a.pullFailed(c, m, err)
		return false, nil
	case err != nil:
		return false, err
	case present && early:
		return true, nil
	case present:
		a.m.events.everyday(a.view.Pod, c.Name, eventPulled, "Container image %q already present on machine", c.Image)
		return true, nil
	}
	if m.Waiting.Reason == reasonPullBackOff {
		m.Waiting.Reason = reasonPull
	}
	a.pulls(c)
	took, err := a.pull(ctx, c, a.imageHandler(c.Name), sandbox)
	if err != nil {
		if ctx.Err() != nil || away(err) {
			return false, err
		}
		a.pullFailed(c, m, err)
		return false, nil
	}
	a.hasPulled(c, took)
	return true, nil
}

// pulls tells that an image is about to be pulled.
func (a *actor) pulls(c *corev1.Container) {
	a.m.events.everyday(a.view.Pod, c.Name, eventPulling, "Pulling image %q", c.Image)
	a.tellWhilePulling()
}

func (a *actor) hasPulled(c *corev1.Container, took time.Duration) {
	a.m.events.everyday(a.view.Pod, c.Name, eventPulled, "Successfully pulled image %q in %s", c.Image, took.Round(time.Millisecond))
}

// tellWhilePulling shows the container as being created if its pull takes long enough to be looked at.
func (a *actor) tellWhilePulling() {
	a.mu.Lock()
	mayTell := a.fromAPI && !a.gone
	a.mu.Unlock()
	if a.sent == nil {
		a.tellStatus(mayTell, time.Now())
	}
}

// create makes the container; an empty ID without an error means that it has to wait.
func (a *actor) create(ctx context.Context, step pod.Step, sandboxID string, sandbox *runtimev1.PodSandboxConfig) (string, error) {
	c, m := step.Container, a.view.Memory[step.Container.Name]
	vars, err := env.Resolve(ctx, a.view.Pod, c, a.facts(), a.source(), a.base(c))
	var mounts []volume.Mount
	if err == nil && a.wasm(c.Name) {
		err = a.openVolumes(ctx)
	}
	if err == nil {
		mounts, err = volume.Mounts(a.view.Pod, c, a.host, vars)
	}
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		a.misconfigured(c, m, err)
		return "", nil
	}
	config := containerConfig(a.view.Pod, c, step.Attempt, vars, mounts)
	config.Annotations[runtimes.AnnotationKind] = string(a.kinds.of(c.Name))
	config.Image.RuntimeHandler = a.imageHandler(c.Name)
	if a.wasm(c.Name) {
		err = a.impossible(c)
	} else {
		err = a.addProcess(ctx, config, c)
	}
	if err != nil {
		if ctx.Err() != nil || cri.IsUnavailable(err) {
			return "", err
		}
		a.misconfigured(c, m, err)
		return "", nil
	}
	id, err := a.m.rt.CreateContainer(ctx, sandboxID, config, sandbox)
	if err != nil {
		return "", a.failedStart(ctx, c, m, reasonCreate, err)
	}
	a.startedResized(c.Name)
	a.m.events.everyday(a.view.Pod, c.Name, eventCreated, "Created container: %s", c.Name)
	return id, nil
}

// failedStart notes a failure of the runtime to create or start, and looks what came of it.
func (a *actor) failedStart(ctx context.Context, c *corev1.Container, m *pod.Memory, reason string, err error) error {
	a.suspectLater()
	if ctx.Err() != nil || cri.IsUnavailable(err) {
		return err
	}
	a.m.events.warn(a.view.Pod, c.Name, eventFailed, "Error: %v", err)
	m.Failed(time.Now(), pod.Why{Reason: reason, Message: err.Error()})
	a.m.metrics.kubelet.cannotStart(a.view.Pod, c.Name, reason)
	return a.look(ctx)
}
