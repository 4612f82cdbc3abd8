package scheduler

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// reportTries bounds how often a pod's condition is written anew after a conflict.
const reportTries = 3

// bind writes a decision. When it fails the room is given back and the pod tried again, unless it is gone.
func (s *Scheduler) bind(ctx context.Context, p *Pod, node string) {
	err := s.cfg.Client.Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Object.Namespace, Name: p.Object.Name, UID: p.UID()},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	})
	if err == nil {
		s.cfg.Logger.Debug("pod bound", "pod", p.Key(), "node", node)
		s.cfg.Recorder.Eventf(p.Object, corev1.EventTypeNormal, "Scheduled", "Successfully assigned %s to %s", p.Key(), node)
		s.mu.Lock()
		s.queue.Delete(p.UID())
		s.mu.Unlock()
		return
	}
	s.mu.Lock()
	now := s.cfg.Clock.Now()
	if n := s.cluster.Forget(p.UID()); n != nil {
		s.queue.Wake(func(other *Pod) bool { return fits(other, n) }, now)
	}
	s.queue.Retry(p.UID(), now)
	s.mu.Unlock()
	s.poke()
	if ctx.Err() != nil {
		return
	}
	s.cfg.Logger.Info("bind failed", "pod", p.Key(), "node", node, "error", err)
	if !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		s.cfg.Recorder.Eventf(p.Object, corev1.EventTypeWarning, "FailedScheduling", "cannot bind to node %s: %v", node, err)
	}
}

// report tells a pod's status and its events why no node takes it.
func (s *Scheduler) report(ctx context.Context, p *Pod, message string) {
	s.cfg.Recorder.Eventf(p.Object, corev1.EventTypeWarning, "FailedScheduling", "%s", message)
	pod := p.Object
	for range reportTries {
		changed, differs := withCondition(pod, unschedulableCondition(message), metav1.NewTime(s.cfg.Clock.Now()))
		if !differs {
			return
		}
		_, err := s.cfg.Client.UpdateStatus(ctx, changed)
		if err == nil || apierrors.IsNotFound(err) {
			return
		}
		if !apierrors.IsConflict(err) {
			s.cfg.Logger.Warn("cannot write why a pod has no node", "pod", p.Key(), "error", err)
			return
		}
		fresh, err := s.cfg.Client.Get(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name,
		}})
		if err != nil {
			return // gone, or the next attempt will tell
		}
		var ok bool
		if pod, ok = fresh.(*corev1.Pod); !ok || pod.UID != p.UID() || !pending(pod) {
			return
		}
	}
}

// withCondition returns a copy of the pod with the condition; differs is false when it says so already.
func withCondition(pod *corev1.Pod, want corev1.PodCondition, now metav1.Time) (changed *corev1.Pod, differs bool) {
	at := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == want.Type })
	want.LastTransitionTime = now
	changed = pod.DeepCopy()
	if at < 0 {
		changed.Status.Conditions = append(changed.Status.Conditions, want)
		return changed, true
	}
	have := &changed.Status.Conditions[at]
	if have.Status == want.Status && have.Reason == want.Reason && have.Message == want.Message {
		return pod, false
	}
	if have.Status == want.Status {
		want.LastTransitionTime = have.LastTransitionTime
	}
	want.ObservedGeneration = have.ObservedGeneration
	*have = want
	return changed, true
}
