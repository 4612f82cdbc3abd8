package worker

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// runWriter runs a status writer over the client for the length of the bubble's function.
func runWriter(t *testing.T, client *fake.Clientset, test func(w *statusWriter)) {
	t.Helper()
	w := newStatusWriter(client, newMetrics())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.run(ctx) })
	test(w)
	cancel()
	running.Wait()
}

func reportOf(p *corev1.Pod, phase corev1.PodPhase, told, gone *int) *report {
	status := p.Status
	status.Phase = phase
	return &report{pod: p, status: status, told: func() { *told++ }, gone: func() { *gone++ }}
}

// patches are the patches that the client was sent, of status or not.
func patches(client *fake.Clientset) (out []string) {
	for _, a := range client.Actions() {
		if p, ok := a.(clienttesting.PatchAction); ok {
			out = append(out, p.GetSubresource()+string(p.GetPatch()))
		}
	}
	return out
}

func TestStatusPatchSaysWhatChanged(t *testing.T) {
	p := testPod("a", "idle")
	p.Status.Message = "to be taken away"
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	status := *p.Status.DeepCopy()
	status.Phase, status.Message = corev1.PodRunning, ""
	status.Conditions = append(status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
	raw, err := statusPatch(p, &status, map[string]string{"petrel.run/kind": "reactor"})
	if err != nil {
		t.Fatal(err)
	}
	var patch struct {
		Metadata map[string]any
		Status   map[string]any
	}
	if err := json.Unmarshal(raw, &patch); err != nil {
		t.Fatal(err)
	}
	if patch.Metadata["uid"] != "uid-a" || patch.Status["phase"] != "Running" || len(patch.Status["conditions"].([]any)) != 1 {
		t.Errorf("patch = %s", raw)
	}
	if message, set := patch.Status["message"]; !set || message != nil {
		t.Errorf("patch = %s: a field that went has to be null", raw)
	}
	if raw, err := statusPatch(p, &p.Status, nil); err != nil || raw != nil {
		t.Errorf("nothing changed, yet the patch is %s, %v", raw, err)
	}
}

func TestStatusIsSentUntilItIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPod("a", "idle")
		client := fake.NewClientset(p)
		fails := 8
		client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			fails--
			return fails >= 0, nil, errors.New("connection refused")
		})
		var told, gone int
		runWriter(t, client, func(w *statusWriter) {
			w.put("uid-a", reportOf(p, corev1.PodRunning, &told, &gone))
			time.Sleep(300 * time.Millisecond)
			newer := reportOf(p, corev1.PodSucceeded, &told, &gone) // replaces the one that waits
			newer.annotations = map[string]string{"k": "v"}
			w.put("uid-a", newer)
			time.Sleep(time.Minute)
		})
		got := patches(client)
		last := got[len(got)-1]
		if told != 1 || gone != 0 || !strings.Contains(last, "Succeeded") || !strings.Contains(last, `"k":"v"`) {
			t.Errorf("told %d times, gone %d, last patch %s", told, gone, last)
		}
		if len(got) != 9 {
			t.Errorf("%d patches in a minute, want the eight that failed and one", len(got))
		}
	})
}

func TestStatusOfAPodThatIsGone(t *testing.T) {
	for name, answer := range map[string]error{
		"deleted":             apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "a"),
		"another of its name": apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "a", errors.New("uid differs")),
	} {
		synctest.Test(t, func(t *testing.T) {
			p := testPod("a", "idle")
			client := fake.NewClientset(p)
			client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, answer })
			var told, gone int
			runWriter(t, client, func(w *statusWriter) {
				w.put("uid-a", reportOf(p, corev1.PodRunning, &told, &gone))
				time.Sleep(time.Minute)
			})
			if told != 0 || gone != 1 || len(patches(client)) != 1 {
				t.Errorf("%s: told %d, gone %d, %d patches", name, told, gone, len(patches(client)))
			}
		})
	}
}

func TestAnnotationsThatTheServerDropsAreSentApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPod("a", "idle")
		client := fake.NewClientset(p)
		client.PrependReactor("patch", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if a.GetSubresource() != "status" {
				return false, nil, nil
			}
			return true, p.DeepCopy(), nil // as a server that takes nothing but the status
		})
		var told, gone int
		runWriter(t, client, func(w *statusWriter) {
			r := reportOf(p, corev1.PodRunning, &told, &gone)
			r.annotations = map[string]string{"petrel.run/kind": "reactor"}
			w.put("uid-a", r)
			time.Sleep(time.Second)
		})
		got := patches(client)
		if len(got) != 2 || got[1] != `{"metadata":{"annotations":{"petrel.run/kind":"reactor"},"uid":"uid-a"}}` || told != 1 {
			t.Errorf("patches = %q, told %d", got, told)
		}
	})
}

func TestEndedPodIsDeletedByItsUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPod("a", "idle")
		client := fake.NewClientset(p)
		var told, gone int
		runWriter(t, client, func(w *statusWriter) {
			r := reportOf(p, corev1.PodFailed, &told, &gone)
			r.remove = true
			w.put("uid-a", r)
			time.Sleep(time.Second)
		})
		last, ok := client.Actions()[len(client.Actions())-1].(clienttesting.DeleteActionImpl)
		if !ok || *last.DeleteOptions.GracePeriodSeconds != 0 || *last.DeleteOptions.Preconditions.UID != types.UID("uid-a") {
			t.Errorf("last call = %+v", last)
		}
	})
}

// TestAnswersAreKeptOnlyWhileTheyAreNews: an idle pod must not be held twice.
func TestAnswersAreKeptOnlyWhileTheyAreNews(t *testing.T) {
	w := newStatusWriter(fake.NewClientset(), newMetrics())
	version := func(v string) *corev1.Pod {
		return testPod("a", "idle", func(p *corev1.Pod) { p.ResourceVersion = v })
	}
	w.seen["uid-a"] = version("7")
	w.caughtUp(version("6"))
	if w.seen["uid-a"] == nil {
		t.Error("an answer that is newer than what the API handed on was dropped")
	}
	w.caughtUp(version("7"))
	if w.seen["uid-a"] != nil {
		t.Error("an answer was kept that the API has handed on")
	}
	w.queue.ShutDown()
}
