package worker

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/pod"
)

// resizeRetry is when a resize is tried again that the node has no room for yet, or that a runtime refused.
const resizeRetry = 5 * time.Second

// Reasons of events about pods that are resized in place, as kubelet's.
const (
	eventResizeStarted   = "ResizeStarted"
	eventResizeCompleted = "ResizeCompleted"
	eventResizeError     = "ResizeError"
	eventResize          = "Resize" // and why it has to wait
)

// resizing is a pod whose resources were changed while it runs. What is granted is the spec that everything else in the
// worker goes by.
type resizing struct {
	resizeRecord
	wanted  allotment
	pending pod.Why   // why what is wanted is not granted
	failed  string    // why what is granted is not in force
	started bool      // there was an event of it
	retry   time.Time // when to try again
}

// done tells whether nothing is left to do.
func (r *resizing) done() bool { return r.Granted.equal(r.wanted) && r.InForce.equal(r.Granted) }

// recallResize goes on with what a worker before this one was at.
func (a *actor) recallResize() {
	record, err := a.m.paths.keptResize(a.view.Pod)
	if err != nil {
		a.m.log.Error("resize of a pod was not read back: what it has is taken to be what it asks for", "pod", a.name(), "error", err)
	}
	if record == nil {
		return
	}
	a.resize = &resizing{resizeRecord: *record, wanted: allotmentOf(a.view.Pod), started: true}
	a.view.Pod = a.resize.Granted.in(a.view.Pod)
}

// noteResize makes of a new version of the pod the one to run: with the resources that are granted to it.
func (a *actor) noteResize(object *corev1.Pod) *corev1.Pod {
	if object.Generation == a.view.Pod.Generation && a.resize == nil || a.static {
		return object
	}
	wanted := allotmentOf(object)
	if a.resize == nil {
		had := allotmentOf(a.view.Pod)
		if had.equal(wanted) {
			return object
		}
		a.resize = &resizing{resizeRecord: resizeRecord{Granted: had, InForce: had.clone()}}
		a.keepResize()
	}
	if !a.resize.wanted.equal(wanted) {
		a.resize.wanted, a.resize.retry = wanted, time.Time{}
	}
	if a.resize.Granted.equal(wanted) {
		return object
	}
	return a.resize.Granted.in(object)
}

// keepResizing grants and enforces what a pod's resources were changed to, and tells when to try again.
func (a *actor) keepResizing(ctx context.Context, now time.Time) time.Time {
	r := a.resize
	if r == nil || a.view.Stopping != nil || a.view.Over {
		return time.Time{}
	}
	defer func() { a.showResize() }()
	if now.Before(r.retry) {
		return r.retry
	}
	r.retry = time.Time{}
	if r.Granted.equal(r.wanted) {
		r.pending = pod.Why{}
	} else {
		a.grant(now)
	}
	if err := a.enforce(ctx); err != nil {
		if ctx.Err() != nil {
			return now
		}
		if r.failed != err.Error() {
			r.failed = err.Error()
			a.m.events.warn(a.view.Pod, "", eventResizeError, "Error resizing pod: %v", err)
		}
		r.retry = now.Add(resizeRetry)
		return r.retry
	}
	r.failed = ""
	if r.done() {
		if r.started {
			a.m.events.everyday(a.view.Pod, "", eventResizeCompleted, "Pod resize completed")
		}
		a.resize = nil
		a.m.grants.forget(a.uid)
		a.keepResize()
	}
	return r.retry
}

// grant lets the pod have what it wants, if the node has it.
func (a *actor) grant(now time.Time) {
	r := a.resize
	wanted := r.wanted.in(a.view.Pod)
	why := a.m.mayGrant(a.uid, a.view.Pod, wanted)
	if why.Reason != "" {
		if r.pending != why {
			r.pending = why
			a.m.events.warn(a.view.Pod, "", eventResize+why.Reason, "%s", why.Message)
		}
		if why.Reason == corev1.PodReasonDeferred {
			r.retry = now.Add(resizeRetry)
		}
		return
	}
	r.pending, r.Granted, r.started = pod.Why{}, r.wanted.clone(), true
	a.view.Pod = wanted
	a.m.events.everyday(a.view.Pod, "", eventResizeStarted, "Pod resize started")
	a.keepResize()
}

// keepResize writes down where the resize is; it has to be there before anything is done.
func (a *actor) keepResize() {
	var record *resizeRecord
	if a.resize != nil {
		record = &a.resize.resizeRecord
	}
	if err := a.m.onDisk(func() error { return a.m.paths.keepResize(a.view.Pod, record) }); err != nil {
		a.m.log.Error("resize of a pod was not written down", "pod", a.name(), "error", err)
	}
}

// showResize has the status tell of it.
func (a *actor) showResize() {
	r := a.resize
	if r == nil {
		a.view.Resize, a.view.InForce = pod.Resize{}, nil
		return
	}
	a.view.Resize = pod.Resize{Pending: r.pending, InProgress: !r.InForce.equal(r.Granted), Failed: r.failed}
	a.view.InForce = r.InForce.Containers
}
