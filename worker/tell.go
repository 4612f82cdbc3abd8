package worker

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/petrelrun/petrel/worker/pod"
)

// tellStatus sends the status if it is news to the API. What it returns, unless zero, is when to ask again whether the API
// has kept it.
func (a *actor) tellStatus(mayTell bool, now time.Time) (again time.Time) {
	status := a.final
	if status == nil {
		s := pod.Status(&a.view, now)
		status = &s
	}
	a.countStart(status, now)
	a.show(status)
	leave := a.leaving()
	if !mayTell {
		return time.Time{}
	}
	if !a.isNews(status, leave) {
		if sameStatus(status, &a.view.Pod.Status) {
			return time.Time{}
		}
		// Somebody else has written: who saw the node away calls its pods unready even when it is back. The status is
		// repeated at leisure only, lest a server that changes statuses is fought over each.
		if again = a.sentAt.Add(statusRepeat); now.Before(again) {
			return again
		}
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
	} else {
		a.m.statuses.put(a.uid, r)
	}
	return time.Time{}
}

// leaving reports whether the pod is deleted and nothing of it is left in the runtime.
func (a *actor) leaving() bool {
	return a.view.Over && a.view.Told && a.view.Pod.DeletionTimestamp != nil && len(a.view.Sandboxes) == 0 && !a.view.Prepared
}

// isNews reports whether the status, or what goes with it, differs from what was sent.
func (a *actor) isNews(status *corev1.PodStatus, leave bool) bool {
	return leave && !a.left || a.sent == nil || !maps.Equal(a.notes, a.sentNotes) || !equality.Semantic.DeepEqual(status, a.sent)
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
