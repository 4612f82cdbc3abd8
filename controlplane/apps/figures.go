package apps

import (
	"context"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/controlplane/api"
)

// figures are the runtime's of one pod, in microseconds.
type figures struct {
	cold, compile int64
	cached        bool
	all           *api.ColdStart // nil where the runtime does not tell
}

// readFigures takes what the runtime measured. The figures come with the pod's status, as its readiness does; a
// moment later at most.
func (ro *rollout) readFigures(ctx context.Context, out *Deployed) {
	ctx, cancel := context.WithTimeout(ctx, figuresGrace)
	defer cancel()
	woken, stop := ro.s.signals.wait(ro.d.key)
	defer stop()
	for {
		ro.takePods()
		if f := figuresOf(ro.pods); f.cold > 0 {
			ro.tellFigures(f, out)
			return
		}
		select {
		case <-woken:
		case <-ctx.Done():
			ro.d.warn("the runtime did not tell what it measured")
			return
		}
	}
}

func (ro *rollout) tellFigures(f figures, out *Deployed) {
	out.ColdStartMicros, out.ColdStart = f.cold, coldStartOf(f.all)
	ro.d.timings["compile"] = float64(f.compile) / 1e3
	if f.cached {
		ro.d.warn("the runtime had compiled this module before: compile is the time to read it from the cache")
	}
	if f.all != nil && f.all.Snapshot != "" && f.all.Snapshot != api.SnapshotTaken {
		ro.d.warn("instances are made without a snapshot, which is slower: %s", f.all.Snapshot)
	}
}

// figuresOf chooses among pods; a compilation that was done says more than one that was spared.
func figuresOf(pods []*corev1.Pod) figures {
	var out figures
	for _, pod := range pods {
		f, ok := podFigures(pod)
		if ok && (out.cold == 0 || out.cached && !f.cached) {
			out = f
		}
	}
	return out
}

func podFigures(pod *corev1.Pod) (f figures, ok bool) {
	var err error
	if f.cold, err = strconv.ParseInt(pod.Annotations[api.AnnotationColdStartMicros], 10, 64); err != nil || f.cold <= 0 {
		return f, false
	}
	if f.compile, err = strconv.ParseInt(pod.Annotations[api.AnnotationCompileMicros], 10, 64); err != nil {
		f.compile = 0
	}
	f.cached = pod.Annotations[api.AnnotationCompileCached] == "true"
	f.all = api.ParseColdStart(pod.Annotations[api.AnnotationColdStart])
	return f, true
}

// coldStartOf is an App's figures as answers have them.
func coldStartOf(c *api.ColdStart) *ColdStart {
	if c == nil {
		return nil
	}
	out := ColdStart(*c)
	return &out
}

func sandboxOf(t *api.AppTemplate) Sandbox {
	return Sandbox{Isolation: t.Isolation, HTTP: t.HTTP, Egress: t.Egress}
}
