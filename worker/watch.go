package worker

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/probe"
)

// adjustWatches has every running main container and sidecar probed whose start hook is over, and none other.
func (a *actor) adjustWatches() {
	if a.view.Stopping != nil || a.view.Over {
		return
	}
	for c, role := range pod.Containers(a.view.Pod) {
		if role != pod.Main && role != pod.Sidecar {
			continue
		}
		inst := a.view.Newest(c.Name)
		w := a.watches[c.Name]
		runs := inst != nil && inst.State == pod.Running && a.view.Memory[c.Name].Hook != inst.ID
		if w != nil && runs && w.instance == inst.ID {
			continue
		}
		a.stopWatch(c.Name)
		m := a.view.Memory[c.Name]
		m.Started, m.Ready = false, false
		if runs {
			a.beginWatch(c, inst, m)
		}
	}
}

func (a *actor) beginWatch(c *corev1.Container, inst *pod.Instance, m *pod.Memory) {
	w := &watching{instance: inst.ID, adopted: inst.Started.Before(a.accepted)}
	a.watches[c.Name] = w
	m.Started = c.StartupProbe == nil
	m.Ready = m.Started && c.ReadinessProbe == nil
	if !probe.Needed(c) {
		return
	}
	id, name := inst.ID, c.Name
	w.watch = a.m.prober.Watch(a.target(c, id), inst.Started, func(r probe.Report) { a.onProbe(name, id, r) })
}

func (a *actor) stopWatch(name string) {
	w := a.watches[name]
	if w == nil {
		return
	}
	delete(a.watches, name)
	if w.watch != nil {
		w.watch.Stop()
	}
}

func (a *actor) stopWatches() {
	for name := range a.watches {
		a.stopWatch(name)
	}
}

// takeProbes makes what probes found part of the view.
func (a *actor) takeProbes(results []probed) {
	for _, r := range results {
		w := a.watches[r.container]
		if w == nil || w.instance != r.instance {
			continue // of an instance that is no more
		}
		switch {
		case r.Unknown:
			a.m.events.warn(a.view.Pod, r.container, eventUnhealthy, "%s probe errored and resulted in unknown state: %v", r.Kind, r.Err)
		case r.Err != nil:
			a.m.events.warn(a.view.Pod, r.container, eventUnhealthy, "%s probe failed: %v", r.Kind, r.Err)
		}
		if r.Changed {
			w.adopted = false
			a.judge(r)
		}
	}
}

// judge follows a probe's verdict.
func (a *actor) judge(r probed) {
	c := container(a.view.Pod, r.container)
	m := a.view.Memory[r.container]
	if c == nil {
		return
	}
	good := r.Err == nil
	switch r.Kind {
	case probe.Readiness:
		m.Ready = good
	case probe.Startup:
		if !good {
			a.condemn(c, m, r.instance, c.StartupProbe, "startup")
			return
		}
		m.Started = true
		m.Ready = m.Ready || c.ReadinessProbe == nil
	case probe.Liveness:
		if !good {
			a.condemn(c, m, r.instance, c.LivenessProbe, "liveness")
		}
	}
}

// condemn has an instance killed for its failed probe.
func (a *actor) condemn(c *corev1.Container, m *pod.Memory, instance string, p *corev1.Probe, kind string) {
	m.Condemned = instance
	m.Why = "Container " + c.Name + " failed " + kind + " probe, will be restarted"
	m.Grace = pod.Grace(a.view.Pod)
	if p.TerminationGracePeriodSeconds != nil {
		m.Grace = time.Duration(*p.TerminationGracePeriodSeconds) * time.Second
	}
}

// target is the container's instance as probes and hooks reach it.
func (a *actor) target(c *corev1.Container, id string) probe.Target {
	t := probe.Target{Container: c, ID: id}
	if s := a.view.Sandbox(); s != nil {
		t.IP = s.IP
	}
	return t
}

func container(p *corev1.Pod, name string) *corev1.Container {
	c, _ := pod.Find(p, name)
	return c
}
