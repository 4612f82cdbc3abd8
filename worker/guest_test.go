package worker

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/pod"
)

func guestHealth(p *corev1.Pod) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == pod.GuestHealthy {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func TestGuestFailureIsTold(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	p := n.ready("a")
	if c := guestHealth(p); c != nil {
		t.Errorf("a guest that never failed has %+v", c)
	}
	if got := p.Annotations["petrel.run/cold-start"]; got != `{"compileMicros":1200,"cloneP50Micros":2,"abi":"command","snapshot":"no_memory"}` {
		t.Errorf("figures = %s", got)
	}
	asked := n.runtime.Calls("ContainerStatus")
	if asked != 1 {
		t.Errorf("the container was asked for %d times before its guest failed", asked)
	}
	if failed := n.runtime.FailGuest(string(p.UID), "main", "cpu_time", "spin", time.Now(), 3); failed != 1 {
		t.Fatalf("%d containers fail", failed)
	}
	p = n.until("a", "unhealthy", func(p *corev1.Pod) bool { c := guestHealth(p); return c != nil && c.Status == corev1.ConditionFalse })
	c := guestHealth(p)
	if c.Reason != "CPUTimeExceeded" || c.Message != "a limit in spin (3 times)" || !isReady(p) {
		t.Errorf("condition = %+v, ready %v", c, isReady(p))
	}
	if e := n.event("a", "CPUTimeExceeded"); e.Type != corev1.EventTypeWarning || !strings.Contains(e.Message, "spin") {
		t.Errorf("event = %+v", e)
	}
	for i := range 5 { // more of it is looked at in its time, not at once
		n.runtime.FailGuest(string(p.UID), "main", "cpu_time", "spin", time.Now(), 4+i)
	}
	time.Sleep(50 * time.Millisecond)
	if got := n.runtime.Calls("ContainerStatus"); got != asked+1 {
		t.Errorf("the guest was asked for %d times, want once in %v", got-asked, guestInterval)
	}
}

// A worker that starts anew ends the condition that the one before it has set.
func TestGuestHealthOutlivesTheWorker(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	p := n.ready("a")
	n.runtime.FailGuest(string(p.UID), "main", "trap", "f", time.Now().Add(-57*time.Second), 1)
	n.until("a", "unhealthy", func(p *corev1.Pod) bool { c := guestHealth(p); return c != nil && c.Status == corev1.ConditionFalse })
	n.restart()
	n.until("a", "healthy", func(p *corev1.Pod) bool { return guestHealth(p).Status == corev1.ConditionTrue })
}

func TestFailureReasons(t *testing.T) {
	for code, want := range map[string]string{
		"cpu_time": "CPUTimeExceeded", "wall_time": "WallTimeExceeded", "trap": "Trap", "memory": "MemoryExceeded", "queue": "QueueFull",
		"guest_exit": "GuestExit", "no_response": "NoResponse", "guest_panic": "GuestPanic", "": "GuestFailed", "1 ü!": "GuestFailed", "a b\n-c": "AbC",
	} {
		f := guestFailure{Code: code}
		if got := f.reason(); got != want {
			t.Errorf("%q is %q, want %q", code, got, want)
		}
	}
	f := guestFailure{Code: "trap", Detail: strings.Repeat("x", 2*maxFailureMessage)}
	if got := len(f.message()); got != maxFailureMessage {
		t.Errorf("a long message has %d bytes", got)
	}
}

// FuzzRuntimeInfo: whatever a runtime says becomes annotations and a condition that the API takes.
func FuzzRuntimeInfo(f *testing.F) {
	f.Add(`{"kind":"reactor","coldStart":{"compileMicros":-1},"lastFailure":{"code":"trap","time":"2026-01-01T00:00:00Z","count":1}}`)
	f.Add(`{"lastFailure":{}}`)
	f.Add(`[`)
	f.Fuzz(func(t *testing.T, raw string) {
		i, err := parseInfo(map[string]string{"petrel": raw})
		if err != nil {
			return
		}
		if len(i.notes()) < 4 {
			t.Fatal(i.notes())
		}
		if fail := i.LastFailure; fail != nil {
			if r := fail.reason(); r == "" || strings.ContainsAny(r, " _\n") || r[0] < 'A' || r[0] > 'Z' || len(fail.message()) > maxFailureMessage {
				t.Fatalf("%q %q", r, fail.message())
			}
		}
	})
}
