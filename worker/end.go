package worker

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/staticpods"
)

// takeEnd notes why the pod is to end, if it is.
func (a *actor) takeEnd(in inbox) {
	now := time.Now()
	p := in.pod
	switch {
	case in.gone:
		a.stopBy(now.Add(goneGrace(p)), pod.Why{})
	case p.DeletionTimestamp != nil:
		a.stopBy(deletionDeadline(p, now), pod.Why{})
	case in.evicted != "" && !pod.Terminal(p.Status.Phase):
		a.stopBy(now.Add(evictedGrace(in)), pod.Why{Reason: pod.ReasonEvicted, Message: in.evicted})
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
	forced := passed(deadline)
	if s == nil {
		a.stopWatches()
		a.endHooks()
		a.unfollowVolumes()
		a.inheritVolumes()
		a.leaveServices()
		a.view.Stopping = &pod.Stopping{Deadline: deadline, Forced: forced, Why: why}
		if why.Reason != "" {
			a.m.events.warn(a.view.Pod, "", why.Reason, "%s", why.Message)
		}
		return
	}
	if deadline.Before(s.Deadline) {
		s.Forced = s.Forced || forced && !passed(s.Deadline)
		s.Deadline = deadline
	}
}

func passed(deadline time.Time) bool { return !deadline.After(time.Now()) }

// leaveServices has the node's services send nothing more to the pod, before it is stopped.
func (a *actor) leaveServices() {
	for _, s := range a.view.Sandboxes {
		for _, ip := range s.IPs {
			if addr, err := netip.ParseAddr(ip); err == nil && s.Ready {
				a.m.leave(addr)
			}
		}
	}
}

// deletionDeadline is when the grace period of a deleted pod is over. The API's time of it is cut to whole seconds,
// which would be most of a short grace.
func deletionDeadline(p *corev1.Pod, now time.Time) time.Time {
	told := p.DeletionTimestamp.Add(time.Second)
	if left := now.Add(pod.Grace(p)); left.Before(told) {
		return left
	}
	return told
}

// evictedGrace is what a pod has to end that the node is to be rid of.
func evictedGrace(in inbox) time.Duration {
	if in.evictedGrace < 0 {
		return pod.Grace(in.pod)
	}
	return min(in.evictedGrace, pod.Grace(in.pod))
}

// goneGrace is what a pod may take that the API has let go of already.
func goneGrace(p *corev1.Pod) time.Duration {
	if staticpods.IsStatic(p) { // its file is gone, which is how it is deleted
		return pod.Grace(p)
	}
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
	a.unfollowVolumes()
	a.inheritVolumes()
	if a.final == nil {
		a.final = status.DeepCopy()
	}
	a.view.Over = true
}

// noteEnd fixes the status of a pod whose containers have all ended for good, before the runtime forgets them.
func (a *actor) noteEnd(now time.Time) {
	if a.view.Over {
		return
	}
	if ended, _ := a.view.Ended(); !ended && a.view.Stopping == nil || len(a.view.Running()) > 0 {
		return
	}
	a.stopWatches()
	a.endHooks()
	status := pod.Status(&a.view, now)
	a.end(&status)
	ending := *a.view.Pod
	ending.Status = status
	if err := a.m.onDisk(func() error { return a.m.paths.keep(&ending) }); err != nil {
		a.m.log.Error("pod's end was not written down", "pod", a.name(), "error", err)
	}
}

// freeAddresses gives the pod's addresses and host ports back; by then no policy takes them for the pod's.
func (a *actor) freeAddresses() {
	name := types.NamespacedName{Namespace: a.view.Pod.Namespace, Name: a.view.Pod.Name}
	if !a.m.renewed(name, a.uid) { // policies know pods by name, and another of that name may have begun
		a.m.guard.release(name)
	}
	a.m.hostPorts.release(a.uid)
	a.m.pool.Free(string(a.uid))
}

// finish lets go of a pod of which nothing is left to stop.
func (a *actor) finish() {
	a.mu.Lock()
	gone := a.gone
	a.finished = gone
	a.mu.Unlock()
	a.freeAddresses()
	if gone {
		a.m.remove(a)
	}
}
