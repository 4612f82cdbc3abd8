package controller

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const (
	// firstFailureDelay and lastFailureDelay bound how long a Job waits after a failed pod before it makes the next;
	// the wait doubles with each failure since the last success.
	firstFailureDelay = 10 * time.Second
	lastFailureDelay  = 10 * time.Minute
	// maxUncounted bounds the pods that one status write takes into account; the others follow with the next.
	maxUncounted = 500
	// noIndex is the index of a pod of a Job that is not Indexed.
	noIndex = -1
)

// jobPlan is one step for one Job: what to make and to remove, and the status after it.
type jobPlan struct {
	status batchv1.JobStatus
	// create has one entry for each pod to make: its completion index or noIndex.
	create []int
	// drop are pods that are not wanted any more. They count neither as succeeded nor as failed.
	drop []*corev1.Pod
	// stop are pods of a Job that has failed; they count as failed.
	stop []*corev1.Pod
	// accounted are pods whose tracking finalizer may go once the status is stored.
	accounted []*corev1.Pod
	// again is when to look again though nothing changes; zero for never.
	again time.Duration
}

// jobTally sorts a Job's pods.
type jobTally struct {
	job  *batchv1.Job
	view *view
	now  metav1.Time

	active      []*corev1.Pod // running or about to
	terminating []*corev1.Pod // on their way out, not finished
	ready       int32
	succeeded   []*corev1.Pod // finished and not yet in the counts
	failed      []*corev1.Pod
}

// planJob decides the next step from what is stored. It changes nothing that it is given.
func planJob(job *batchv1.Job, v *view, now metav1.Time) *jobPlan {
	p := &jobPlan{status: *job.Status.DeepCopy()}
	t := tally(job, v, now)
	p.account(t)
	wait := p.judge(t)
	p.again = sooner(p.again, wait)
	p.manage(t)
	p.conclude(t)
	p.status.Active = int32(len(t.active) - len(p.drop) - len(p.stop))
	p.status.Ready = ptr.To(t.ready)
	p.status.Terminating = ptr.To(int32(len(t.terminating) + len(p.drop) + len(p.stop)))
	return p
}

func tally(job *batchv1.Job, v *view, now metav1.Time) *jobTally {
	t := &jobTally{job: job, view: v, now: now}
	counted := uncountedSet(job.Status.UncountedTerminatedPods)
	for _, pod := range v.pods {
		leaving := v.terminating(pod)
		_, already := counted[pod.UID]
		toCount := tracked(pod) && !already
		switch {
		case pod.Status.Phase == corev1.PodSucceeded:
			if toCount {
				t.succeeded = append(t.succeeded, pod)
			}
		case pod.Status.Phase == corev1.PodFailed:
			if toCount {
				t.failed = append(t.failed, pod)
			}
		case leaving:
			t.terminating = append(t.terminating, pod)
			// A pod that was told to go may never come to a phase: its node may be gone. Unless the Job asks to
			// wait for that, it counts at once.
			if toCount && !replaceOnlyFailed(job) {
				t.failed = append(t.failed, pod)
			}
		default:
			t.active = append(t.active, pod)
			if ready(pod) {
				t.ready++
			}
		}
	}
	return t
}

func replaceOnlyFailed(job *batchv1.Job) bool {
	return ptr.Deref(job.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed) == batchv1.Failed
}

func tracked(pod *corev1.Pod) bool {
	return slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer)
}

func uncountedSet(u *batchv1.UncountedTerminatedPods) map[types.UID]struct{} {
	set := make(map[types.UID]struct{})
	if u != nil {
		for _, uid := range slices.Concat(u.Succeeded, u.Failed) {
			set[uid] = struct{}{}
		}
	}
	return set
}

// account moves finished pods into the status in two steps, so that each counts exactly once whatever crashes in
// between: first its UID is noted as uncounted while the pod keeps its finalizer; once the finalizer is gone, the
// UID turns into one more in the count.
func (p *jobPlan) account(t *jobTally) {
	held := make(map[types.UID]*corev1.Pod)
	for _, pod := range t.view.pods {
		if tracked(pod) {
			held[pod.UID] = pod
		}
	}
	u := p.status.UncountedTerminatedPods
	if u == nil {
		u = &batchv1.UncountedTerminatedPods{}
	}
	var free int
	u.Succeeded, free = withFinalizer(u.Succeeded, held)
	p.status.Succeeded += int32(free)
	u.Failed, free = withFinalizer(u.Failed, held)
	p.status.Failed += int32(free)

	room := maxUncounted - len(u.Succeeded) - len(u.Failed)
	if indexed(t.job) {
		room -= p.accountIndexes(t, room)
	} else {
		take := min(len(t.succeeded), room)
		for _, pod := range t.succeeded[:take] {
			u.Succeeded = append(u.Succeeded, pod.UID)
		}
		room -= take
	}
	for _, pod := range t.failed[:min(len(t.failed), room)] {
		u.Failed = append(u.Failed, pod.UID)
	}
	for _, uid := range slices.Concat(u.Succeeded, u.Failed) {
		p.accounted = append(p.accounted, held[uid])
	}
	p.status.UncountedTerminatedPods = u
}

// accountIndexes adds the indexes of succeeded pods to the status. A set needs no second step: to add an index
// twice changes nothing.
func (p *jobPlan) accountIndexes(t *jobTally, room int) int {
	done := parseIndexes(p.status.CompletedIndexes)
	completions := int(ptr.Deref(t.job.Spec.Completions, 0))
	taken := min(len(t.succeeded), room)
	for _, pod := range t.succeeded[:taken] {
		if i := podIndex(pod); i >= 0 && i < completions {
			done.add(i)
		}
		p.accounted = append(p.accounted, pod)
	}
	p.status.CompletedIndexes = done.String()
	p.status.Succeeded = int32(done.count())
	return taken
}

// withFinalizer keeps the UIDs whose pod still has its finalizer and counts the others.
func withFinalizer(uids []types.UID, held map[types.UID]*corev1.Pod) (kept []types.UID, free int) {
	for _, uid := range uids {
		if _, ok := held[uid]; ok {
			kept = append(kept, uid)
		} else {
			free++
		}
	}
	return kept, free
}

// successes and failures count all pods that ended, those not yet in the counts included.
func (p *jobPlan) successes() int32 {
	return p.status.Succeeded + int32(len(p.status.UncountedTerminatedPods.Succeeded))
}

func (p *jobPlan) failures() int32 {
	return p.status.Failed + int32(len(p.status.UncountedTerminatedPods.Failed))
}

// judge decides whether the Job has failed or succeeded. It tells when the deadline is to be looked at.
func (p *jobPlan) judge(t *jobTally) time.Duration {
	spec := &t.job.Spec
	if p.decided() || t.job.DeletionTimestamp != nil {
		return 0
	}
	if p.followSuspension(t) {
		return 0
	}
	var left time.Duration
	if spec.ActiveDeadlineSeconds != nil && p.status.StartTime != nil {
		left = p.status.StartTime.Add(time.Duration(*spec.ActiveDeadlineSeconds) * time.Second).Sub(t.now.Time)
	}
	limit := ptr.Deref(spec.BackoffLimit, defaultBackoffLimit)
	switch what := unsupported(t.job); {
	case what != "":
		p.decide(batchv1.JobFailureTarget, "Unsupported", "Job uses "+what+", which Petrel does not serve", t.now)
	case p.failures() > limit || restartsExceed(t, limit):
		p.decide(batchv1.JobFailureTarget, batchv1.JobReasonBackoffLimitExceeded,
			"Job has reached the specified backoff limit", t.now)
	case spec.ActiveDeadlineSeconds != nil && left <= 0:
		p.decide(batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded,
			"Job was active longer than specified deadline", t.now)
	case p.reached(t):
		p.decide(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached,
			"Reached expected number of succeeded pods", t.now)
	}
	return max(left, 0)
}

// defaultBackoffLimit is Kubernetes' own.
const defaultBackoffLimit = 6

// unsupported names a field that asks for what is not served; ignoring it would run the Job by other rules than its
// author wrote.
func unsupported(job *batchv1.Job) string {
	switch s := &job.Spec; {
	case s.PodFailurePolicy != nil:
		return "spec.podFailurePolicy"
	case s.SuccessPolicy != nil:
		return "spec.successPolicy"
	case s.BackoffLimitPerIndex != nil:
		return "spec.backoffLimitPerIndex"
	case s.MaxFailedIndexes != nil:
		return "spec.maxFailedIndexes"
	}
	return ""
}

// restartsExceed counts the restarts of containers against the limit, for pods that restart in place.
func restartsExceed(t *jobTally, limit int32) bool {
	if t.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	var total int32
	for _, pod := range t.active {
		for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			total += s.RestartCount
		}
	}
	if limit == 0 {
		return total > 0
	}
	return total >= limit
}

// reached tells whether enough pods succeeded. Without completions one success is enough, once no pod runs.
func (p *jobPlan) reached(t *jobTally) bool {
	if t.job.Spec.Completions == nil {
		return p.successes() > 0 && len(t.active) == 0 && len(t.terminating) == 0
	}
	return p.successes() >= *t.job.Spec.Completions
}

// failureDelay is how long to wait before the next pod: after the last failure, longer with each in a row.
func failureDelay(pods []*corev1.Pod, now time.Time) time.Duration {
	var lastSuccess, lastFailure time.Time
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodSucceeded {
			lastSuccess = later(lastSuccess, finishedAt(pod))
		}
	}
	inRow := 0
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodFailed {
			continue
		}
		if at := finishedAt(pod); at.After(lastSuccess) {
			inRow++
			lastFailure = later(lastFailure, at)
		}
	}
	if inRow == 0 {
		return 0
	}
	delay := firstFailureDelay
	for i := 1; i < inRow && delay < lastFailureDelay; i++ {
		delay *= 2
	}
	return lastFailure.Add(min(delay, lastFailureDelay)).Sub(now)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// finishedAt is when the last container of a finished pod ended, or the best guess.
func finishedAt(pod *corev1.Pod) time.Time {
	var at time.Time
	for i := range pod.Status.ContainerStatuses {
		if end := pod.Status.ContainerStatuses[i].State.Terminated; end != nil {
			at = later(at, end.FinishedAt.Time)
		}
	}
	if c := podCondition(pod, corev1.PodReady); at.IsZero() && c != nil {
		at = c.LastTransitionTime.Time
	}
	if at.IsZero() {
		at = pod.CreationTimestamp.Time
	}
	return at
}

// sooner is the shorter of two waits, of which zero means none.
func sooner(a, b time.Duration) time.Duration {
	if a <= 0 || (b > 0 && b < a) {
		return b
	}
	return a
}

// jobFinished returns the condition by which a Job is over; nil while it is not.
func jobFinished(job *batchv1.Job) *batchv1.JobCondition {
	for i := range job.Status.Conditions {
		c := &job.Status.Conditions[i]
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}
