package worker

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/pod"
)

// inbox is what the actor was told since its last turn.
type inbox struct {
	pod     *corev1.Pod
	fromAPI bool
	gone    bool
	dirty   bool
	told    bool
	probed  []probed
	hooked  []hooked
	listing *found
	ailing  string
	renew   bool
	evicted string
	// evictedGrace is what it has to end for that; negative: what it asks for.
	evictedGrace time.Duration
}

// turn takes in what is new, does what there is to do now, tells the status, and returns when it wants to be woken.
func (a *actor) turn(ctx context.Context, in inbox) time.Time {
	a.noteVolumes(in)
	a.takePod(in)
	a.takeProbes(in.probed)
	a.takeHooks(in.hooked)
	if in.dirty {
		if err := a.lookAt(ctx, in.listing); err != nil {
			a.suspectLater()
			return a.postpone(err)
		}
	}
	if in.fromAPI {
		a.trustReadiness(in.pod)
	}
	a.takeEnd(in)
	guest := a.checkGuest(ctx, in.ailing, time.Now())
	volumes := sooner(a.renewVolumes(ctx, time.Now()), a.keepResizing(ctx, time.Now()))
	wake, err := a.work(ctx)
	if a.resize != nil { // a container may have been started anew for it
		volumes = sooner(volumes, a.keepResizing(ctx, time.Now()))
	}
	wake = sooner(sooner(wake, guest), volumes)
	if err != nil {
		if wake = sooner(sooner(a.postpone(err), guest), volumes); a.m.ctx.Err() != nil {
			return wake
		}
	} else {
		a.retry = 0
	}
	again := a.tellStatus(in.fromAPI && !in.gone, time.Now())
	if a.static { // what its manifest says is no status
		return wake
	}
	return sooner(wake, again)
}

// suspectLater keeps the look that failed due, without waking the actor for it.
func (a *actor) suspectLater() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dirty = true
}

// postpone is when to try again after the runtime failed.
func (a *actor) postpone(err error) time.Time {
	if errors.Is(err, context.Canceled) || a.m.ctx.Err() != nil {
		return time.Now() // told something new in the midst of it, or over
	}
	a.retry = min(max(2*a.retry, runtimeRetry), runtimeRetryMax)
	if cri.IsUnavailable(err) {
		a.retry = runtimeRetry // nothing is wrong with the pod: go on as soon as the runtime is back
	}
	a.m.log.Debug("pod step failed", "pod", a.name(), "error", err)
	return time.Now().Add(a.retry)
}

func (a *actor) name() string { return a.view.Pod.Namespace + "/" + a.view.Pod.Name }

// takePod makes the newest version of the pod the one to run.
func (a *actor) takePod(in inbox) {
	a.view.Pod = a.noteResize(a.withSentStatus(in.pod))
	for c := range pod.Containers(in.pod) {
		if a.view.Memory[c.Name] == nil {
			a.view.Memory[c.Name] = &pod.Memory{}
		}
	}
	if key := in.pod.ResourceVersion; a.kept != key && !in.gone && (a.kept == "" || specChanged(in.pod, a.shown.pod)) {
		if err := a.m.onDisk(func() error { return a.m.paths.keep(in.pod) }); err != nil {
			a.m.log.Error("pod was not written down", "pod", a.name(), "error", err)
			return
		}
		a.kept = key
	}
}

// withSentStatus is the pod, with the status that was sent where the API has just that: the two are one in memory then.
// Others may be reading the pod, so it is another that gets it.
func (a *actor) withSentStatus(object *corev1.Pod) *corev1.Pod {
	if object == a.view.Pod || a.sent == nil || !equality.Semantic.DeepEqual(&object.Status, a.sent) {
		return object
	}
	slim := *object
	slim.Status = *a.sent
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pod == object {
		a.pod = &slim
	}
	return &slim
}

// specChanged reports whether what a restarted worker has to know has changed.
func specChanged(a, b *corev1.Pod) bool {
	return a.Generation != b.Generation || (a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil) ||
		pod.Terminal(a.Status.Phase) != pod.Terminal(b.Status.Phase)
}

// trustReadiness takes over what the API holds of containers that were running before this worker was: they stay
// ready until their probes say otherwise.
func (a *actor) trustReadiness(object *corev1.Pod) {
	for _, all := range [][]corev1.ContainerStatus{object.Status.InitContainerStatuses, object.Status.ContainerStatuses} {
		for i := range all {
			s := &all[i]
			w := a.watches[s.Name]
			if w == nil || !w.adopted || s.ContainerID != w.instance {
				continue
			}
			w.adopted = false
			m := a.view.Memory[s.Name]
			m.Started = m.Started || s.Started != nil && *s.Started
			m.Ready = m.Ready || s.Ready
		}
	}
}

// work does steps until there is none for now.
func (a *actor) work(ctx context.Context) (time.Time, error) {
	for {
		now := time.Now()
		a.noteEnd(now)
		step := pod.Next(&a.view, now)
		switch step.Kind {
		case pod.Wait:
			return a.soonest(step.At, now), nil
		case pod.Finished:
			a.finish()
			return time.Time{}, nil
		}
		if a.interrupted() || ctx.Err() != nil {
			return now, nil
		}
		if err := a.do(ctx, step); err != nil {
			return time.Time{}, err
		}
	}
}

// soonest is the earliest of the step's time, the pod's deadline and its guest's recovery.
func (a *actor) soonest(at, now time.Time) time.Time {
	if a.view.Stopping != nil || a.view.Over {
		return at
	}
	if end := deadline(a.view.Pod); end.After(now) {
		at = sooner(at, end)
	}
	return sooner(at, pod.HealthyAt(&a.view, now))
}

// sooner is the earlier of two times of which zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
