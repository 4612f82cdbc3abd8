package worker

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/probe"
)

// hooking is a container's start hook that is under way.
type hooking struct {
	instance string
	cancel   context.CancelFunc
}

// hooked is how a start hook ended.
type hooked struct {
	container, instance string
	err                 error
}

// beginHook runs the container's start hook, if it has one, beside everything else: the pod may be ended meanwhile.
// Until it is over the container does not count as started. A worker that dies in the midst of it does not do it again.
func (a *actor) beginHook(c *corev1.Container, m *pod.Memory, id string) {
	if c.Lifecycle == nil || c.Lifecycle.PostStart == nil || !a.m.begin() {
		return
	}
	ctx, cancel := context.WithTimeout(a.m.ctx, probe.MaxHook)
	if a.hooks == nil {
		a.hooks = map[string]hooking{}
	}
	a.hooks[c.Name] = hooking{id, cancel}
	m.Hook = id
	target, hook, name := a.target(c, id), c.Lifecycle.PostStart, c.Name
	go func() {
		defer a.m.loops.Done()
		err := a.m.actions.Hook(ctx, target, hook)
		cancel()
		a.tell(func() { a.hooked = append(a.hooked, hooked{name, id, err}) })
	}()
}

// takeHooks makes the ends of start hooks part of the view: a container whose hook failed is killed.
func (a *actor) takeHooks(results []hooked) {
	for _, r := range results {
		m := a.view.Memory[r.container]
		if h, ok := a.hooks[r.container]; !ok || h.instance != r.instance || m == nil {
			continue // of an instance that is no more
		}
		delete(a.hooks, r.container)
		m.Hook = ""
		if r.err != nil {
			a.m.events.warn(a.view.Pod, r.container, eventPostStart, "PostStartHook failed: %v", r.err)
			m.Condemned, m.Why, m.Grace = r.instance, "Container "+r.container+" failed its PostStart hook, will be killed", pod.Grace(a.view.Pod)
			continue
		}
		a.adjustWatches()
	}
}

// adjustHooks ends the start hooks of instances that have ended.
func (a *actor) adjustHooks() {
	for name, h := range a.hooks {
		if inst := a.view.Newest(name); inst == nil || inst.ID != h.instance || inst.State != pod.Running {
			a.endHook(name)
		}
	}
}

func (a *actor) endHook(name string) {
	a.hooks[name].cancel()
	delete(a.hooks, name)
	a.view.Memory[name].Hook = ""
}

// endHooks ends them all, because the pod ends.
func (a *actor) endHooks() {
	for name := range a.hooks {
		a.endHook(name)
	}
}

// stopper is what stops an instance within the grace period: its stop hook, once, and what is left for the container
// itself.
func (a *actor) stopper(inst pod.Instance, grace time.Duration) func(context.Context) error {
	hook := a.stopHook(inst)
	if hook == nil || grace <= 0 {
		return func(ctx context.Context) error { return a.m.rt.StopContainer(ctx, inst.ID, grace) }
	}
	a.view.Memory[inst.Name].Stopped = inst.ID
	object, target := a.view.Pod, a.target(container(a.view.Pod, inst.Name), inst.ID)
	return func(ctx context.Context) error {
		began := time.Now()
		short, cancel := context.WithTimeout(ctx, grace)
		err := a.m.actions.Hook(short, target, hook)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			a.m.events.warn(object, inst.Name, eventPreStop, "PreStopHook failed: %v", err)
		}
		return a.m.rt.StopContainer(ctx, inst.ID, max(pod.MinGrace, grace-time.Since(began)))
	}
}

// stopHook is the hook that the instance has yet to be told of its stop by; nil for none.
func (a *actor) stopHook(inst pod.Instance) *corev1.LifecycleHandler {
	c, m := container(a.view.Pod, inst.Name), a.view.Memory[inst.Name]
	if c == nil || c.Lifecycle == nil || m == nil || m.Stopped == inst.ID {
		return nil
	}
	return c.Lifecycle.PreStop
}

// exec runs a command of a probe or a hook.
func (m *manager) exec(ctx context.Context, id string, command []string, timeout time.Duration) ([]byte, int32, error) {
	result, err := m.rt.ExecSync(ctx, id, command, timeout)
	return append(result.Stdout, result.Stderr...), result.ExitCode, err
}
