package worker

import (
	"fmt"
	"net/http"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// budgetPods is enough to tell a cost per pod from a cost per worker.
const budgetPods = 200

// TestIdlePodsCostNoGoroutines holds the worker to its promise that a pod of which nothing is to be done is memory.
func TestIdlePodsCostNoGoroutines(t *testing.T) {
	n := newTestNode(t)
	start := time.Now()
	for i := range budgetPods {
		n.create(testPod(fmt.Sprintf("p%03d", i), "idle"))
	}
	n.eventually("all to be ready", func() bool {
		list, err := n.client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return false
		}
		ready := 0
		for i := range list.Items {
			if isReady(&list.Items[i]) {
				ready++
			}
		}
		return ready == budgetPods
	})
	t.Logf("%d pods were ready after %v", budgetPods, time.Since(start).Round(time.Millisecond))
	n.eventually("the actors to rest", func() bool { return goroutinesIn("worker.(*actor)") == 0 })
	calls := n.runtime.Calls("ListContainers")
	if calls > budgetPods/2 { // comparisons of everything, and of pods that were being made meanwhile
		t.Errorf("containers were listed %d times for %d new pods: what the worker made itself it need not ask for", calls, budgetPods)
	}
	if got := n.worker.pool.Used(); got != budgetPods {
		t.Errorf("%d addresses are used by %d pods", got, budgetPods)
	}
	for i := range budgetPods {
		n.delete(fmt.Sprintf("p%03d", i), 1)
	}
	n.eventually("the runtime to be empty", func() bool { return n.runtime.Sandboxes() == 0 && n.worker.pool.Used() == 0 })
	if ended := n.runtime.Calls("ListContainers") - calls; ended > budgetPods/4 {
		t.Errorf("containers were listed %d times while %d pods were ended: what the worker ends itself it need not ask for", ended, budgetPods)
	}
}

// goroutinesIn counts this process's goroutines with such a frame; tests that run beside this one have few.
func goroutinesIn(frame string) int {
	var profile strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 2)
	count := 0
	for _, stack := range strings.Split(profile.String(), "\n\n") {
		if strings.Contains(stack, frame) {
			count++
		}
	}
	return count
}

// TestSameNameAgain has a pod replaced by another of its name, as controllers that name their pods do.
func TestSameNameAgain(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "task", args("print", "old", "sleep", "600000")))
	n.ready("a")
	if err := n.client.CoreV1().Pods("default").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.create(testPod("a", "task", args("print", "new", "sleep", "600000"), func(p *corev1.Pod) { p.UID = "uid-a2" }))
	n.ready("a")
	n.eventually("the old one to go", func() bool { return n.runtime.Sandboxes() == 1 })
	if code, body := n.log("a", "main", ""); code != http.StatusOK || body != "new\n" {
		t.Errorf("log = %d %q", code, body)
	}
}

// TestRestartAmidTermination ends the worker while a pod is being ended: the next one has to finish it.
func TestRestartAmidTermination(t *testing.T) {
	n := newTestNode(t)
	n.runtime.AddImage("stubborn", deaf)
	n.create(testPod("a", "stubborn"))
	n.create(testPod("done", "task", args("exit", "0"), policy(corev1.RestartPolicyNever)))
	n.ready("a")
	n.phase("done", corev1.PodSucceeded)
	n.delete("a", 2)
	n.eventually("the container to be asked to stop", func() bool { return n.runtime.Calls("StopContainer") == 1 })
	n.restart()
	n.gone("a")
	n.delete("done", 30) // has nothing left to stop, so its grace is not waited for
	n.gone("done")
	n.eventually("the runtime to be empty", func() bool { return n.runtime.Sandboxes() == 0 })
}

// TestEndIsToldThoughTheAPIWasAwayWhenItCame: the runtime has let go of the container by the time the API can be told.
func TestEndIsToldThoughTheAPIWasAwayWhenItCame(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "task", args("sleep", "600000"), policy(corev1.RestartPolicyNever)))
	n.ready("a")
	n.away.Store(true)
	if ended := n.runtime.Kill("uid-a", "main", 5); ended != 1 {
		t.Fatalf("%d containers ended", ended)
	}
	n.eventually("the address to be free", func() bool { return n.worker.pool.Used() == 0 })
	n.restart()
	n.eventually("the pod to be taken over", func() bool { return n.runtime.Calls("Version") == 2 })
	n.away.Store(false)
	p := n.phase("a", corev1.PodFailed)
	if got := p.Status.ContainerStatuses[0].State.Terminated; got == nil || got.ExitCode != 5 {
		t.Errorf("container = %+v", p.Status.ContainerStatuses[0])
	}
	if got := n.runtime.Calls("StartContainer"); got != 1 {
		t.Errorf("started %d times", got)
	}
}

// TestImageChangeRestartsTheContainer: the image is what the API lets one change of a pod.
func TestImageChangeRestartsTheContainer(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	p := n.ready("a").DeepCopy()
	n.runtime.AddImage("idle:2", n.runtime.Program("idle"))
	p.Spec.Containers[0].Image = "idle:2"
	p.Generation++
	if _, err := n.client.CoreV1().Pods("default").Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.until("a", "running the new image", func(p *corev1.Pod) bool {
		return restarts(p) == 1 && isReady(p) && p.Status.ContainerStatuses[0].Image == "idle:2"
	})
}
