package worker

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/petrelrun/petrel/worker/pod"
)

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
	a.sent, a.sentAt, a.left, a.sentNotes = status, now, leave, a.notes
	a.view.Last = status
	r := &report{
		pod: a.view.Pod, status: *status, annotations: a.notes, remove: leave,
		told: func() {
			if pod.Terminal(status.Phase) {
				a.onTold()
			}
		},
		gone: a.vanish,
	}
	if a.static {
		a.m.static.tell(r)
		return
	}
	a.m.statuses.put(a.uid, r)
}

// leaving reports whether the pod is deleted and nothing of it is left in the runtime.
func (a *actor) leaving() bool {
	return a.view.Over && a.view.Told && a.view.Pod.DeletionTimestamp != nil && len(a.view.Sandboxes) == 0 && !a.view.Prepared
}

// isNews reports whether the status differs from what was sent, or from what the API has after it was sent; the
// latter is repeated at leisure only, lest a server that changes statuses is fought over each.
func (a *actor) isNews(status *corev1.PodStatus, leave bool, now time.Time) bool {
	if leave && !a.left || a.sent == nil || !maps.Equal(a.notes, a.sentNotes) {
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
		took := now.Sub(a.accepted).Seconds()
		a.m.metrics.startLatency.Observe(took)
		a.m.metrics.kubelet.podStart.Observe(took)
	}
}
