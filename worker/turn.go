package worker

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

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
	listing *found
}

// turn takes in what is new, does what there is to do now, tells the status, and returns when it wants to be woken.
func (a *actor) turn(ctx context.Context, in inbox) time.Time {
	a.takePod(in)
	a.takeProbes(in.probed)
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
	wake, err := a.work(ctx)
	if err != nil {
		if wake = a.postpone(err); a.m.ctx.Err() != nil {
			return wake
		}
	} else {
		a.retry = 0
	}
	a.tellStatus(in.fromAPI && !in.gone, time.Now())
	return wake
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
	a.view.Pod = in.pod
	for _, all := range [][]corev1.Container{in.pod.Spec.InitContainers, in.pod.Spec.Containers} {
		for i := range all {
			if a.view.Memory[all[i].Name] == nil {
				a.view.Memory[all[i].Name] = &pod.Memory{}
			}
		}
	}
	if key := in.pod.ResourceVersion; a.kept != key && !in.gone && (a.kept == "" || specChanged(in.pod, a.shown.pod)) {
		if err := a.m.paths.keep(in.pod); err != nil {
			a.m.log.Error("pod was not written down", "pod", a.name(), "error", err)
			return
		}
		a.kept = key
	}
}

// specChanged reports whether what a restarted worker has to know has changed.
func specChanged(a, b *corev1.Pod) bool {
	return a.Generation != b.Generation || (a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil) ||
		pod.Terminal(a.Status.Phase) != pod.Terminal(b.Status.Phase)
}

// trustReadiness takes over what the API holds of containers that were running before this worker was: they stay
// ready until their probes say otherwise.
func (a *actor) trustReadiness(object *corev1.Pod) {
	for i := range object.Status.ContainerStatuses {
		s := &object.Status.ContainerStatuses[i]
		w := a.watches[s.Name]
		if w == nil || !w.adopted || s.ContainerID != a.m.runtimeName+"://"+w.instance {
			continue
		}
		w.adopted = false
		m := a.view.Memory[s.Name]
		m.Started = m.Started || s.Started != nil && *s.Started
		m.Ready = m.Ready || s.Ready
	}
}

// lookAt takes a listing that is at hand, or asks.
func (a *actor) lookAt(ctx context.Context, at *found) error {
	if at != nil {
		return a.take(ctx, *at)
	}
	return a.look(ctx)
}

// look asks the runtime what it holds for the pod.
func (a *actor) look(ctx context.Context) error {
	labels := map[string]string{labelPodUID: string(a.uid)}
	var f found
	var err error
	if f.sandboxes, err = a.m.rt.ListPodSandbox(ctx, &runtimev1.PodSandboxFilter{LabelSelector: labels}); err != nil {
		return err
	}
	if f.containers, err = a.m.rt.ListContainers(ctx, &runtimev1.ContainerFilter{LabelSelector: labels}); err != nil {
		return err
	}
	return a.take(ctx, f)
}

// take makes a listing the actor's view.
func (a *actor) take(ctx context.Context, f found) error {
	seen, err := observe(ctx, a.m.rt, f, &a.view.Observed)
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
	a.adjustWatches()
}

// tellBackOff says that a container that ended will not be started again at once, if it will be at all.
func (a *actor) tellBackOff(name string) {
	if ended, _ := a.view.Ended(); ended || a.view.Stopping != nil || a.view.Over {
		return
	}
	if inst := a.view.Newest(name); inst.ExitCode == 0 && a.view.Pod.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		return
	}
	a.m.events.warn(a.view.Pod, name, eventBackOff, "Back-off restarting failed container %s in pod %s_%s(%s)", name, a.view.Pod.Name, a.view.Pod.Namespace, a.uid)
}

// takeEnd notes why the pod is to end, if it is.
func (a *actor) takeEnd(in inbox) {
	now := time.Now()
	p := in.pod
	switch {
	case in.gone:
		a.stopBy(now.Add(goneGrace(p)), pod.Why{})
	case p.DeletionTimestamp != nil:
		a.stopBy(p.DeletionTimestamp.Time, pod.Why{})
	case pod.Terminal(p.Status.Phase) && !a.view.Over:
		a.stopBy(now.Add(pod.Grace(p)), pod.Why{}) // ended by somebody else: the status is theirs
	case pastDeadline(p, now):
		a.stopBy(now.Add(pod.Grace(p)), pod.Why{
			Reason: eventDeadline, Message: "Pod was active on the node longer than the specified deadline",
		})
	}
	if pod.Terminal(p.Status.Phase) {
		a.end(&p.Status)
		a.view.Told = a.view.Told || in.fromAPI
	}
	a.view.Told = a.view.Told || in.told || in.gone
}

// stopBy sets the deadline, or an earlier one.
func (a *actor) stopBy(deadline time.Time, why pod.Why) {
	s := a.view.Stopping
	if s == nil {
		a.stopWatches()
		a.view.Stopping = &pod.Stopping{Deadline: deadline, Why: why}
		if why.Reason != "" {
			a.m.events.warn(a.view.Pod, "", why.Reason, "%s", why.Message)
		}
		return
	}
	if deadline.Before(s.Deadline) {
		s.Deadline = deadline
	}
}

// goneGrace is what a pod may take that the API has let go of already.
func goneGrace(p *corev1.Pod) time.Duration {
	if p.DeletionGracePeriodSeconds != nil {
		return min(pod.Grace(p), forcedGrace)
	}
	return forcedGrace
}

func pastDeadline(p *corev1.Pod, now time.Time) bool {
	at := deadline(p)
	return !at.IsZero() && !now.Before(at)
}

// deadline is when activeDeadlineSeconds end the pod; zero without.
func deadline(p *corev1.Pod) time.Time {
	if p.Spec.ActiveDeadlineSeconds == nil || p.Status.StartTime == nil {
		return time.Time{}
	}
	return p.Status.StartTime.Add(time.Duration(*p.Spec.ActiveDeadlineSeconds) * time.Second)
}

// end notes the status that the pod ends with; the first is the one.
func (a *actor) end(status *corev1.PodStatus) {
	if a.final == nil {
		a.final = status.DeepCopy()
	}
	a.view.Over = true
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

// noteEnd fixes the status of a pod whose containers have all ended for good, before the runtime forgets them.
func (a *actor) noteEnd(now time.Time) {
	if a.view.Over {
		return
	}
	ended, _ := a.view.Ended()
	if !ended && (a.view.Stopping == nil || len(a.view.Running()) > 0) {
		return
	}
	a.stopWatches()
	status := pod.Status(&a.view, now)
	a.end(&status)
	ending := *a.view.Pod
	ending.Status = status
	if err := a.m.paths.keep(&ending); err != nil {
		a.m.log.Error("pod's end was not written down", "pod", a.name(), "error", err)
	}
}

// soonest is the earlier of the step's time and the pod's deadline.
func (a *actor) soonest(at, now time.Time) time.Time {
	if a.view.Stopping != nil || a.view.Over {
		return at
	}
	if end := deadline(a.view.Pod); end.After(now) && (at.IsZero() || end.Before(at)) {
		return end
	}
	return at
}

// finish lets go of a pod of which nothing is left to stop.
func (a *actor) finish() {
	a.mu.Lock()
	gone := a.gone
	a.finished = gone
	a.mu.Unlock()
	a.m.pool.Release(string(a.uid))
	if gone {
		a.m.remove(a)
	}
}

// tellStatus sends the status if it is news to the API.
func (a *actor) tellStatus(mayTell bool, now time.Time) {
	status := a.final
	if status == nil {
		s := pod.Status(&a.view, now)
		status = &s
	}
	a.countStart(status, now)
	a.show(status)
	leave := a.leaving()
	if !mayTell || !a.isNews(status, leave, now) {
		return
	}
	a.sent, a.sentAt, a.left = status, now, leave
	a.view.Last = status
	a.m.statuses.put(a.uid, &report{
		pod: a.view.Pod, status: *status, annotations: a.notes, remove: leave,
		told: func() {
			if pod.Terminal(status.Phase) {
				a.onTold()
			}
		},
		gone: a.vanish,
	})
}

// leaving reports whether the pod is deleted and nothing of it is left in the runtime.
func (a *actor) leaving() bool {
	return a.view.Over && a.view.Told && a.view.Pod.DeletionTimestamp != nil && len(a.view.Sandboxes) == 0 && !a.view.Prepared
}

// isNews reports whether the status differs from what was sent, or from what the API has after it was sent; the
// latter is repeated at leisure only, lest a server that changes statuses is fought over each.
func (a *actor) isNews(status *corev1.PodStatus, leave bool, now time.Time) bool {
	if leave && !a.left || a.sent == nil {
		return true
	}
	if !equality.Semantic.DeepEqual(status, a.sent) {
		return true
	}
	return now.Sub(a.sentAt) >= statusRepeat && !sameStatus(status, &a.view.Pod.Status)
}

// sameStatus compares what the worker owns of a status.
func sameStatus(a, b *corev1.PodStatus) bool {
	return a.Phase == b.Phase && a.PodIP == b.PodIP && pod.Ready(a) == pod.Ready(b) &&
		equality.Semantic.DeepEqual(a.ContainerStatuses, b.ContainerStatuses)
}

func (a *actor) countStart(status *corev1.PodStatus, now time.Time) {
	if !a.counted && status.Phase == corev1.PodRunning {
		a.counted = true
		a.m.metrics.startLatency.Observe(now.Sub(a.accepted).Seconds())
	}
}
