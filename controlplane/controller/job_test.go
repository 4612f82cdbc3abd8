package controller

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var onlyJobs = []build{newJobs}

func job(change ...func(*batchv1.Job)) *batchv1.Job {
	labels := map[string]string{"batch.kubernetes.io/controller-uid": "work"}
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "work"},
		Spec: batchv1.JobSpec{
			Parallelism: ptr.To[int32](1), Completions: ptr.To[int32](1), BackoffLimit: ptr.To[int32](6),
			Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template("task", labels),
		},
	}
	j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	for _, c := range change {
		c(j)
	}
	return j
}

func parallel(n int32) func(*batchv1.Job) {
	return func(j *batchv1.Job) { j.Spec.Parallelism = ptr.To(n) }
}

func completions(n int32) func(*batchv1.Job) {
	return func(j *batchv1.Job) { j.Spec.Completions = ptr.To(n) }
}

func byIndexes(j *batchv1.Job) { j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion) }

func jobStatusHolds(j *batchv1.Job, kind batchv1.JobConditionType) bool {
	for _, c := range j.Status.Conditions {
		if c.Type == kind {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func TestJobRunsToCompletion(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		for done := range 5 {
			live := w.live()
			if want := min(2, 5-done); len(live) != want {
				t.Fatalf("%d pods after %d completions, want %d", len(live), done, want)
			}
			w.run(live[0])
			w.settle(time.Second)
			if s := get(w, job()).Status; s.Active != int32(len(live)) || ptr.Deref(s.Ready, 0) != 1 || s.StartTime == nil || s.Succeeded != int32(done) {
				t.Errorf("status %+v", s)
			}
			w.end(live[0], corev1.PodSucceeded)
			w.settle(time.Second)
		}
		j := get(w, job())
		if s := j.Status; s.Succeeded != 5 || s.Active != 0 || s.Failed != 0 || s.CompletionTime == nil ||
			!jobStatusHolds(j, batchv1.JobComplete) || !jobStatusHolds(j, batchv1.JobSuccessCriteriaMet) || jobStatusHolds(j, batchv1.JobFailed) {
			t.Errorf("status %+v", s)
		}
		if n := w.count("create Pod"); n != 5 {
			t.Errorf("%d pods made", n)
		}
		for _, p := range w.pods() {
			if tracked(p) {
				t.Errorf("%s keeps its finalizer", p.Name)
			}
		}
		if !w.hadEvent("Normal Completed") {
			t.Error("no event tells of it")
		}
	}, job(parallel(2), completions(5)))
}

func TestJobRetriesWithBackoff(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		for i, wait := range []time.Duration{10, 20, 40} {
			w.end(w.live()[0], corev1.PodFailed)
			w.settle(wait*time.Second - 2*time.Second)
			if n := len(w.live()); n != 0 {
				t.Fatalf("failure %d: tried again before %ds", i+1, wait)
			}
			w.settle(3 * time.Second)
			if i == 2 {
				break
			}
			if n := len(w.live()); n != 1 {
				t.Fatalf("failure %d: %d pods after %ds", i+1, n, wait)
			}
		}
		j := get(w, job())
		if s := j.Status; s.Failed != 3 || len(w.live()) != 0 || !jobStatusHolds(j, batchv1.JobFailed) || !jobStatusHolds(j, batchv1.JobFailureTarget) {
			t.Errorf("status %+v", s)
		}
		for _, c := range j.Status.Conditions {
			if c.Reason != batchv1.JobReasonBackoffLimitExceeded {
				t.Errorf("condition %+v", c)
			}
		}
		if j.Status.CompletionTime != nil {
			t.Error("a failed Job has a completion time")
		}
	}, job(func(j *batchv1.Job) { j.Spec.BackoffLimit = ptr.To[int32](2) }))
}

func TestJobFailureEndsOtherPods(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		for _, p := range w.live() {
			w.run(p)
		}
		w.end(w.live()[0], corev1.PodFailed)
		w.settle(time.Second)
		j := get(w, job())
		if jobStatusHolds(j, batchv1.JobFailed) || !jobStatusHolds(j, batchv1.JobFailureTarget) || ptr.Deref(j.Status.Terminating, 0) != 2 {
			t.Fatalf("while pods are ending: %+v", j.Status)
		}
		for _, p := range w.pods() {
			if p.DeletionTimestamp != nil {
				w.kill(p)
			}
		}
		w.settle(time.Second)
		if j := get(w, job()); !jobStatusHolds(j, batchv1.JobFailed) || j.Status.Failed != 3 {
			t.Errorf("after they ended: %+v", j.Status)
		}
	}, job(parallel(3), completions(3), func(j *batchv1.Job) { j.Spec.BackoffLimit = ptr.To[int32](0) }))
}

func TestJobRestartsCount(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		w.run(w.live()[0])
		changeStatus(w, w.live()[0], func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}} })
		w.settle(time.Second)
		if !jobStatusHolds(get(w, job()), batchv1.JobFailureTarget) {
			t.Error("restarts in place do not count")
		}
	}, job(func(j *batchv1.Job) {
		j.Spec.BackoffLimit = ptr.To[int32](3)
		j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	}))
}

func TestJobDeadline(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		w.run(w.live()[0])
		w.settle(58 * time.Second)
		if len(w.live()) != 1 {
			t.Fatal("ended before its deadline")
		}
		w.settle(3 * time.Second)
		if len(w.live()) != 0 {
			t.Fatal("runs after its deadline")
		}
		w.kill(w.pods()[0])
		w.settle(time.Second)
		j := get(w, job())
		if c := jobFinished(j); c == nil || c.Type != batchv1.JobFailed || c.Reason != "DeadlineExceeded" {
			t.Errorf("conditions %+v", j.Status.Conditions)
		}
	}, job(func(j *batchv1.Job) { j.Spec.ActiveDeadlineSeconds = ptr.To[int64](60) }))
}

func TestJobTTL(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		w.end(w.live()[0], corev1.PodSucceeded)
		w.settle(28 * time.Second)
		if !w.exists(job()) {
			t.Fatal("deleted before its time")
		}
		edit(w, job(), func(j *batchv1.Job) { j.Spec.TTLSecondsAfterFinished = ptr.To[int32](60) })
		w.settle(5 * time.Second)
		if !w.exists(job()) {
			t.Fatal("a longer time to live is ignored")
		}
		w.settle(30 * time.Second)
		if w.exists(job()) {
			t.Error("outlives its time")
		}
	}, job(func(j *batchv1.Job) { j.Spec.TTLSecondsAfterFinished = ptr.To[int32](30) }))
}

func TestJobSuspend(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		j := get(w, job())
		if len(w.live()) != 0 || !jobStatusHolds(j, batchv1.JobSuspended) || j.Status.StartTime != nil {
			t.Fatalf("made suspended: %+v", j.Status)
		}
		suspend := func(on bool) {
			edit(w, job(), func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(on) })
			w.settle(time.Second)
		}
		suspend(false)
		j = get(w, job())
		if len(w.live()) != 3 || jobStatusHolds(j, batchv1.JobSuspended) || j.Status.StartTime == nil {
			t.Fatalf("resumed: %+v", j.Status)
		}
		for _, p := range w.live() {
			w.run(p)
		}
		w.end(w.live()[0], corev1.PodSucceeded)
		suspend(true)
		for _, p := range w.pods() {
			if p.DeletionTimestamp != nil {
				w.kill(p)
			}
		}
		w.settle(time.Minute)
		j = get(w, job())
		if len(w.live()) != 0 || j.Status.Succeeded != 1 || j.Status.Failed != 0 {
			t.Fatalf("suspended again: %+v; pods that were stopped must not count", j.Status)
		}
		suspend(false)
		if n := len(w.live()); n != 2 {
			t.Errorf("%d pods after it was resumed, want the 2 that are left", n)
		}
	}, job(parallel(3), completions(3), func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) }))
}

func TestJobWorkQueue(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		live := w.live()
		if len(live) != 3 {
			t.Fatalf("%d pods", len(live))
		}
		w.end(live[0], corev1.PodSucceeded)
		w.settle(time.Second)
		if n := len(w.live()); n != 2 {
			t.Fatalf("%d pods: the queue ran dry, no more are to be made", n)
		}
		w.end(live[1], corev1.PodSucceeded)
		w.settle(time.Second)
		if jobFinished(get(w, job())) != nil {
			t.Fatal("complete while a pod runs")
		}
		w.end(live[2], corev1.PodSucceeded)
		w.settle(time.Second)
		if j := get(w, job()); j.Status.Succeeded != 3 || !jobStatusHolds(j, batchv1.JobComplete) {
			t.Errorf("status %+v", j.Status)
		}
	}, job(parallel(3), func(j *batchv1.Job) { j.Spec.Completions = nil }))
}

func TestJobIndexed(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		byIdx := func() map[int]*corev1.Pod {
			found := map[int]*corev1.Pod{}
			for _, p := range w.live() {
				found[podIndex(p)] = p
			}
			return found
		}
		pods := byIdx()
		if len(pods) != 2 || pods[0] == nil || pods[1] == nil {
			t.Fatalf("pods %v, want the lowest two indexes", pods)
		}
		p := pods[1]
		env := p.Spec.Containers[0].Env
		if len(env) != 1 || env[0].Name != "JOB_COMPLETION_INDEX" || env[0].ValueFrom.FieldRef.FieldPath != "metadata.annotations['batch.kubernetes.io/job-completion-index']" ||
			p.Labels[batchv1.JobCompletionIndexAnnotation] != "1" || p.Spec.Hostname != "work-1" || !strings.HasPrefix(p.Name, "work-1-") {
			t.Errorf("pod %+v %+v", p.ObjectMeta, env)
		}
		w.end(pods[1], corev1.PodSucceeded)
		w.end(pods[0], corev1.PodFailed)
		w.settle(time.Minute)
		pods = byIdx()
		if len(pods) != 2 || pods[0] == nil || pods[2] == nil {
			t.Fatalf("pods %v, want index 0 again and 2", pods)
		}
		if s := get(w, job()).Status; s.CompletedIndexes != "1" || s.Succeeded != 1 || s.Failed != 1 {
			t.Errorf("status %+v", s)
		}
		for range 3 {
			for _, p := range byIdx() {
				w.end(p, corev1.PodSucceeded)
			}
			w.settle(time.Minute)
		}
		if j := get(w, job()); j.Status.CompletedIndexes != "0-3" || j.Status.Succeeded != 4 || !jobStatusHolds(j, batchv1.JobComplete) {
			t.Errorf("status %+v", j.Status)
		}
	}, job(parallel(2), completions(4), byIndexes))
}

// TestJobDeletedPodCountsOnce deletes a finished pod at once: its finalizer keeps it until it is in the count.
func TestJobDeletedPodCountsOnce(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		p := w.live()[0]
		w.end(p, corev1.PodSucceeded)
		w.kill(p)
		w.settle(time.Second)
		if j := get(w, job()); j.Status.Succeeded != 1 || w.count("create Pod") != 2 {
			t.Errorf("status %+v after %d pods", j.Status, w.count("create Pod"))
		}
		if w.exists(p) {
			t.Error("the finalizer was not taken off")
		}
	}, job(completions(2)))
}

// TestJobCountsExactlyOnce runs a Job through failing writes, lagging caches, pods that are deleted when they end, and
// restarts of the controller in the middle of its work. Each end counts exactly once.
func TestJobCountsExactlyOnce(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) { countOnce(t, seed) })
		if t.Failed() {
			return
		}
	}
}

func countOnce(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 6))
	w := newWorld(t)
	w.create(job(parallel(5), completions(30), func(j *batchv1.Job) { j.Spec.BackoffLimit = ptr.To[int32](1000) }))
	failing := w.flaky(seed, 8)
	failed, succeeded := 0, 0
	for range 4 {
		w.start(onlyJobs...)
		w.mu.Lock()
		w.lag[podsResource] = time.Duration(r.IntN(300)) * time.Millisecond
		w.lag[jobsResource] = time.Duration(r.IntN(300)) * time.Millisecond
		w.mu.Unlock()
		for range 60 {
			w.settle(time.Duration(r.IntN(2000)) * time.Millisecond)
			failing(false)
			for _, p := range w.live() {
				switch r.IntN(12) {
				case 0:
					w.end(p, corev1.PodFailed)
					failed++
				case 1, 2, 3:
					w.end(p, corev1.PodSucceeded)
					succeeded++
				default:
					continue
				}
				if r.IntN(2) == 0 {
					w.kill(p)
				}
			}
			failing(true)
		}
		w.stop()
	}
	failing(false)
	w.start(onlyJobs...)
	w.settle(10 * time.Minute)
	for range 40 {
		for _, p := range w.live() {
			w.end(p, corev1.PodSucceeded)
			succeeded++
		}
		w.settle(11 * time.Minute)
	}
	j := get(w, job())
	if int(j.Status.Succeeded) != succeeded || int(j.Status.Failed) != failed || !jobStatusHolds(j, batchv1.JobComplete) {
		t.Errorf("seed %d: counted %d and %d failed, want %d and %d; %+v", seed, j.Status.Succeeded, j.Status.Failed, succeeded, failed, j.Status.Conditions)
	}
	if succeeded < 30 {
		t.Errorf("seed %d: complete after %d", seed, succeeded)
	}
	w.stop()
}

func TestJobGoneLetsPodsGo(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		p := w.live()[0]
		w.delete(job(), metav1.DeletePropagationBackground)
		w.settle(time.Second)
		w.kill(p)
		w.settle(time.Second)
		if w.exists(p) {
			t.Error("a pod whose Job is gone cannot be deleted")
		}
	}, job())
}

func TestJobOrphanedPodsAreFreed(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		p := w.live()[0]
		w.delete(job(), metav1.DeletePropagationBackground)
		edit(w, p, func(p *corev1.Pod) { p.OwnerReferences = nil })
		w.settle(time.Second)
		if tracked(get(w, p)) {
			t.Error("an orphan keeps the finalizer")
		}
	}, job())
}

func TestJobLeftToAnother(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		if len(w.pods()) != 0 || w.count("status Job") != 0 {
			t.Error("works on a Job that another controller manages")
		}
	}, job(func(j *batchv1.Job) { j.Spec.ManagedBy = ptr.To("example.com/queue") }))
}

func TestJobRefusesWhatIsNotServed(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		c := jobFinished(get(w, job()))
		if c == nil || c.Type != batchv1.JobFailed || !strings.Contains(c.Message, "spec.podFailurePolicy") || len(w.pods()) != 0 {
			t.Errorf("condition %+v, %d pods", c, len(w.pods()))
		}
	}, job(func(j *batchv1.Job) { j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{} }))
}

func TestJobReplacesOnlyFailed(t *testing.T) {
	inWorld(t, onlyJobs, func(w *world) {
		p := w.live()[0]
		w.run(p)
		if err := w.Delete(context.Background(), named(p), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Minute)
		if j := get(w, job()); len(w.live()) != 0 || j.Status.Failed != 0 || ptr.Deref(j.Status.Terminating, 0) != 1 {
			t.Fatalf("replaced while it is ending: %d pods, %+v", len(w.live()), j.Status)
		}
		w.end(p, corev1.PodFailed)
		w.settle(time.Minute)
		if j := get(w, job()); len(w.live()) != 1 || j.Status.Failed != 1 {
			t.Errorf("after it ended: %d pods, %+v", len(w.live()), j.Status)
		}
	}, job(func(j *batchv1.Job) { j.Spec.PodReplacementPolicy = ptr.To(batchv1.Failed) }))
}

// TestJobStartTimeIsWholeSeconds holds the start time to what the API keeps: it may never change once it is set, not
// even by a fraction.
func TestJobStartTimeIsWholeSeconds(t *testing.T) {
	late := job()
	late.Name = "late"
	inWorld(t, onlyJobs, func(w *world) {
		w.settle(300 * time.Millisecond)
		w.create(late)
		w.settle(10 * time.Millisecond)
		if at := get(w, late).Status.StartTime; at == nil || at.Nanosecond() != 0 {
			t.Errorf("start time %v", at)
		}
	}, job())
}

func TestFailureDelay(t *testing.T) {
	start := time.Unix(1000, 0)
	ended := func(phase corev1.PodPhase, second int) *corev1.Pod {
		p := &corev1.Pod{Status: corev1.PodStatus{Phase: phase}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(start.Add(time.Duration(second) * time.Second))},
		}}}
		return p
	}
	const f, s = corev1.PodFailed, corev1.PodSucceeded
	var many []*corev1.Pod
	for range 50 {
		many = append(many, ended(f, 0))
	}
	for i, tc := range []struct {
		pods []*corev1.Pod
		want time.Duration
	}{
		{nil, 0}, {[]*corev1.Pod{ended(s, 0)}, 0}, {[]*corev1.Pod{ended(f, 0)}, 10 * time.Second},
		{[]*corev1.Pod{ended(f, 0), ended(f, 5)}, 25 * time.Second},
		{[]*corev1.Pod{ended(f, 0), ended(s, 1), ended(f, 2)}, 12 * time.Second},
		{[]*corev1.Pod{ended(f, 0), ended(f, 1), ended(s, 2)}, 0}, {many, lastFailureDelay},
	} {
		if got := failureDelay(tc.pods, start); got != tc.want {
			t.Errorf("%d: %s, want %s", i, got, tc.want)
		}
	}
}
