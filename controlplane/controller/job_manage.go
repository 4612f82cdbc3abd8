package controller

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Reasons of the Suspended condition, by Kubernetes' names.
const (
	reasonJobSuspended = "JobSuspended"
	reasonJobResumed   = "JobResumed"
)

// condition finds a true condition of the planned status; nil when there is none.
func (p *jobPlan) condition(kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range p.status.Conditions {
		if c := &p.status.Conditions[i]; c.Type == kind {
			return c
		}
	}
	return nil
}

func (p *jobPlan) holds(kind batchv1.JobConditionType) bool {
	c := p.condition(kind)
	return c != nil && c.Status == corev1.ConditionTrue
}

// decided tells whether the Job's outcome is settled though pods may still be ending.
func (p *jobPlan) decided() bool {
	return p.holds(batchv1.JobFailureTarget) || p.holds(batchv1.JobSuccessCriteriaMet)
}

// decide adds a condition that is true from now on.
func (p *jobPlan) decide(kind batchv1.JobConditionType, reason, message string, now metav1.Time) {
	p.set(kind, corev1.ConditionTrue, reason, message, now)
}

func (p *jobPlan) set(kind batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string, now metav1.Time) {
	c := p.condition(kind)
	if c == nil {
		p.status.Conditions = append(p.status.Conditions, batchv1.JobCondition{Type: kind})
		c = &p.status.Conditions[len(p.status.Conditions)-1]
	}
	if c.Status != status {
		c.LastTransitionTime = now
	}
	c.Status, c.Reason, c.Message, c.LastProbeTime = status, reason, message, now
}

// followSuspension keeps the Suspended condition and the start time in step with the spec; it is true while the Job
// is suspended.
func (p *jobPlan) followSuspension(t *jobTally) bool {
	suspended := p.holds(batchv1.JobSuspended)
	if ptr.Deref(t.job.Spec.Suspend, false) {
		if !suspended {
			p.set(batchv1.JobSuspended, corev1.ConditionTrue, reasonJobSuspended, "Job suspended", t.now)
		}
		// The time of a deadline runs anew once the Job is resumed.
		p.status.StartTime = nil
		return true
	}
	if suspended {
		p.set(batchv1.JobSuspended, corev1.ConditionFalse, reasonJobResumed, "Job resumed", t.now)
		p.status.StartTime = nil
	}
	if p.status.StartTime == nil {
		p.status.StartTime = ptr.To(t.now)
		if s := t.job.Spec.ActiveDeadlineSeconds; s != nil {
			p.again = sooner(p.again, time.Duration(*s)*time.Second)
		}
	}
	return false
}

// manage decides which pods to make and which to remove.
func (p *jobPlan) manage(t *jobTally) {
	switch {
	case t.job.DeletionTimestamp != nil:
	case p.holds(batchv1.JobFailureTarget):
		p.stop = t.active
	case p.holds(batchv1.JobSuccessCriteriaMet), ptr.Deref(t.job.Spec.Suspend, false):
		p.drop = t.active
	case indexed(t.job):
		p.manageIndexes(t)
	default:
		p.manageCount(t)
	}
}

// occupied counts the terminating pods whose place is not free yet.
func occupied(t *jobTally) int {
	if replaceOnlyFailed(t.job) {
		return len(t.terminating)
	}
	return 0
}

// manageCount keeps as many pods as parallelism and the completions that are left allow.
func (p *jobPlan) manageCount(t *jobTally) {
	want := int(ptr.Deref(t.job.Spec.Parallelism, 1))
	if t.job.Spec.Completions != nil {
		want = min(want, int(*t.job.Spec.Completions-p.successes()))
	} else if p.successes() > 0 {
		want = min(want, len(t.active)) // a work queue that ran dry: no further pods
	}
	if excess := len(t.active) - want; excess > 0 {
		p.drop = rankForDeletion(t.active)[:excess]
		return
	}
	p.grow(t, want-len(t.active)-occupied(t), func(int) int { return noIndex })
}

// manageIndexes keeps one pod for each of the lowest indexes that are not done.
func (p *jobPlan) manageIndexes(t *jobTally) {
	done := parseIndexes(p.status.CompletedIndexes)
	completions := int(ptr.Deref(t.job.Spec.Completions, 0))
	taken := make(map[int]bool)
	if replaceOnlyFailed(t.job) {
		for _, pod := range t.terminating {
			taken[podIndex(pod)] = true
		}
	}
	var kept []*corev1.Pod
	ranked := rankForDeletion(t.active)
	slices.Reverse(ranked) // of two pods with one index the better one stays
	for _, pod := range ranked {
		i := podIndex(pod)
		if i < 0 || i >= completions || done.has(i) || taken[i] {
			p.drop = append(p.drop, pod)
			continue
		}
		taken[i] = true
		kept = append(kept, pod)
	}
	want := min(int(ptr.Deref(t.job.Spec.Parallelism, 1)), completions-done.count())
	if excess := len(kept) - want; excess > 0 {
		p.drop = append(p.drop, kept[len(kept)-excess:]...)
		return
	}
	var free []int
	for i := 0; i < completions && len(free) < want-len(kept)-occupied(t); i++ {
		if !taken[i] && !done.has(i) {
			free = append(free, i)
		}
	}
	p.grow(t, len(free), func(i int) int { return free[i] })
}

// grow plans the creation of pods unless a failure is too recent.
func (p *jobPlan) grow(t *jobTally, count int, index func(int) int) {
	if count <= 0 {
		return
	}
	if wait := failureDelay(t.view.pods, t.now.Time); wait > 0 {
		p.again = sooner(p.again, wait)
		return
	}
	for i := range min(count, maxBurst) {
		p.create = append(p.create, index(i))
	}
	if count > maxBurst {
		p.again = time.Millisecond
	}
}

// conclude adds the terminal condition once every pod has ended and is in the counts.
func (p *jobPlan) conclude(t *jobTally) {
	if !p.decided() || len(t.active)+len(t.terminating) > 0 || len(p.accounted) > 0 ||
		len(t.succeeded)+len(t.failed) > 0 {
		return
	}
	u := p.status.UncountedTerminatedPods
	if len(u.Succeeded)+len(u.Failed) > 0 {
		return
	}
	if c := p.condition(batchv1.JobFailureTarget); c != nil && c.Status == corev1.ConditionTrue {
		p.decide(batchv1.JobFailed, c.Reason, c.Message, t.now)
		return
	}
	c := p.condition(batchv1.JobSuccessCriteriaMet)
	p.decide(batchv1.JobComplete, c.Reason, c.Message, t.now)
	p.status.CompletionTime = ptr.To(t.now)
}
