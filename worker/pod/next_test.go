package pod

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestFromNothingToRunning(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a", "b"})
	w.wantPhase(corev1.PodPending)
	if at := w.settle(); !at.IsZero() {
		t.Errorf("an idle pod wants to be woken at %v", at)
	}
	w.wantTrace("volumes", "sandbox 0", "start a 0", "start b 0")
	s := w.wantPhase(corev1.PodRunning)
	if !Ready(s) || s.PodIP != "127.42.0.1" || s.HostIP != "127.0.0.1" || s.ObservedGeneration != 2 {
		t.Errorf("status = %+v", s)
	}
}

func TestCrashLoop(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a"})
	w.settle()
	w.exit("a", 1)
	w.settle() // the first restart is at once
	if got := w.Newest("a").Attempt; got != 1 {
		t.Fatalf("attempt %d after the first crash, want 1", got)
	}
	for i, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		w.now = w.now.Add(time.Second)
		w.exit("a", 1)
		at := w.settle()
		if got := at.Sub(w.now); got != want*time.Second {
			t.Errorf("restart %d after %v, want %v", i, got, want*time.Second)
		}
		s := w.wantPhase(corev1.PodRunning)
		c := s.ContainerStatuses[0]
		if c.State.Waiting == nil || c.State.Waiting.Reason != ReasonCrashLoop || c.LastTerminationState.Terminated == nil || int(c.RestartCount) != i+1 {
			t.Errorf("status in back-off = %+v", c)
		}
		w.now = at
		w.settle()
		if c := w.status().ContainerStatuses[0]; c.State.Running == nil || c.LastTerminationState.Terminated == nil {
			t.Errorf("status after the restart = %+v", c)
		}
	}
	w.now = w.now.Add(BackoffReset)
	w.exit("a", 1)
	if at := w.settle(); !at.IsZero() || w.Newest("a").State != Running {
		t.Error("a long life did not clear the back-off")
	}
	if n := len(w.Containers["a"]); n != 2 {
		t.Errorf("%d instances are kept, want the newest and its predecessor", n)
	}
}

func TestRestartPolicies(t *testing.T) {
	for name, test := range map[string]struct {
		policy corev1.RestartPolicy
		code   int32
		phase  corev1.PodPhase
		runs   bool
	}{
		"always, success":    {corev1.RestartPolicyAlways, 0, corev1.PodRunning, true},
		"always, failure":    {corev1.RestartPolicyAlways, 1, corev1.PodRunning, true},
		"on failure, failed": {corev1.RestartPolicyOnFailure, 1, corev1.PodRunning, true},
		"on failure, done":   {corev1.RestartPolicyOnFailure, 0, corev1.PodSucceeded, false},
		"never, failure":     {corev1.RestartPolicyNever, 7, corev1.PodFailed, false},
		"never, success":     {corev1.RestartPolicyNever, 0, corev1.PodSucceeded, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.policy, nil, []string{"a"})
			w.settle()
			w.exit("a", test.code)
			w.trace = nil
			w.settle()
			w.wantPhase(test.phase)
			if runs := w.Newest("a").State == Running; runs != test.runs {
				t.Errorf("runs again: %v, want %v", runs, test.runs)
			}
			if test.runs {
				return
			}
			w.wantTrace("stop")
			s := w.status()
			if got := s.ContainerStatuses[0].State.Terminated; got == nil || got.ExitCode != test.code {
				t.Errorf("container status = %+v", s.ContainerStatuses[0])
			}
			if Ready(s) || s.PodIP == "" {
				t.Errorf("ready %v, address %q: want an unready pod that keeps the address it had", Ready(s), s.PodIP)
			}
			w.Over, w.Told = true, true
			w.settle()
			w.wantTrace("remove sandbox", "no volumes", "finished")
		})
	}
}

func TestOneOfTwoEnded(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyNever, nil, []string{"a", "b"})
	w.settle()
	w.exit("a", 0)
	w.settle()
	w.wantPhase(corev1.PodRunning)
	w.exit("b", 2)
	w.settle()
	w.wantPhase(corev1.PodFailed)
}

func TestInitContainers(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyOnFailure, []string{"i", "j"}, []string{"a"})
	w.settle()
	w.wantTrace("volumes", "sandbox 0", "start i 0")
	s := w.wantPhase(corev1.PodPending)
	if got := s.ContainerStatuses[0].State.Waiting; got == nil || got.Reason != ReasonInitializing {
		t.Errorf("main's state = %+v", s.ContainerStatuses[0].State)
	}
	w.exit("i", 1)
	w.settle()
	w.wantTrace("start i 1")
	w.exit("i", 0)
	w.settle()
	w.wantTrace("start j 0")
	w.exit("j", 0)
	w.settle()
	w.wantTrace("start a 0")
	s = w.wantPhase(corev1.PodRunning)
	if !s.InitContainerStatuses[0].Ready || s.InitContainerStatuses[0].RestartCount != 1 {
		t.Errorf("init status = %+v", s.InitContainerStatuses[0])
	}
	w.exit("a", 0)
	w.settle()
	w.wantPhase(corev1.PodSucceeded)
}

func TestInitFailsForGood(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyNever, []string{"i"}, []string{"a"})
	w.settle()
	w.exit("i", 1)
	w.trace = nil
	w.settle()
	w.wantTrace("stop")
	w.wantPhase(corev1.PodFailed)
}

func TestSandboxLost(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, []string{"i"}, []string{"a"})
	w.settle()
	w.exit("i", 0)
	w.settle()
	w.trace = nil
	for attempt := range uint32(3) {
		w.loseSandbox(w.Sandboxes[0].ID, 137)
		w.now = w.now.Add(BackoffReset)
		w.settle()
		if w.Newest("i").State == Running {
			w.exit("i", 0)
		}
		w.settle()
		if got := w.Sandboxes[0].Attempt; got != attempt+1 {
			t.Errorf("sandbox attempt %d, want %d", got, attempt+1)
		}
		if got := w.Newest("a"); got.State != Running || got.Attempt != int32(attempt+1) {
			t.Errorf("main = %+v, want attempt %d running", got, attempt+1)
		}
	}
	if len(w.Sandboxes) != keptSandboxes {
		t.Errorf("%d sandboxes are kept, want %d", len(w.Sandboxes), keptSandboxes)
	}
	stops := slices.DeleteFunc(w.trace, func(step string) bool { return step != "stop" })
	if len(stops) != 3 { // what died by itself may keep its addresses and mounts until it is stopped
		t.Errorf("%d of the 3 dead ones were stopped", len(stops))
	}
}

func TestSandboxLostOfAPodThatNeverRestarts(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyNever, nil, []string{"a"})
	w.settle()
	w.loseSandbox("s0", 137)
	w.settle()
	s := w.wantPhase(corev1.PodFailed)
	if s.ContainerStatuses[0].State.Terminated.ExitCode != 137 {
		t.Errorf("container = %+v", s.ContainerStatuses[0])
	}
}

func TestDeletion(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a", "b"})
	w.settle()
	w.trace = nil
	w.Stopping = &Stopping{Deadline: w.now.Add(5 * time.Second)}
	if step := Next(&w.View, w.now.Add(2*time.Second)); step.Kind != KillContainers || step.Grace != 3*time.Second || len(step.Instances) != 2 {
		t.Fatalf("step = %+v, want both killed within the 3 seconds that are left", step)
	}
	w.settle()
	w.wantTrace("kill a 0", "kill b 0", "stop")
	s := w.wantPhase(corev1.PodFailed) // 143 is no success
	if got := s.ContainerStatuses[0].State.Terminated; got == nil || got.ExitCode != 143 {
		t.Errorf("container = %+v", s.ContainerStatuses[0])
	}
	w.Told = true
	w.settle()
	w.wantTrace("remove sandbox", "no volumes", "finished")
}

func TestDeletionBeforeAnythingRan(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a"})
	w.Stopping = &Stopping{}
	w.settle()
	s := w.wantPhase(corev1.PodFailed)
	if got := s.ContainerStatuses[0].State.Terminated; got == nil || got.Reason != ReasonUnknown {
		t.Errorf("container = %+v", s.ContainerStatuses[0])
	}
	w.Told = true
	w.settle()
	w.wantTrace("finished")
}

func TestDeadlineExceeded(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a"})
	w.settle()
	w.Stopping = &Stopping{Why: Why{Reason: "DeadlineExceeded", Message: "too long"}}
	w.settle()
	if s := w.wantPhase(corev1.PodFailed); s.Reason != "DeadlineExceeded" || s.Message != "too long" {
		t.Errorf("reason %q, message %q", s.Reason, s.Message)
	}
}

func TestCondemnedAndChangedContainersAreRestarted(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a"})
	w.settle()
	w.trace = nil
	m := w.Memory["a"]
	m.Condemned, m.Why, m.Grace = w.Newest("a").ID, "liveness probe failed", 2*time.Second
	if step := Next(&w.View, w.now); step.Grace != 2*time.Second || step.Message != m.Why {
		t.Errorf("step = %+v", step)
	}
	w.settle()
	w.wantTrace("kill a 0", "start a 1")
	w.Pod.Spec.Containers[0].Image = "another"
	w.now = w.now.Add(BackoffReset)
	w.settle()
	w.wantTrace("kill a 1", "start a 2", "remove a 0")
}

func TestFailuresHoldBack(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a"})
	w.settle()
	w.exit("a", 0)
	m := w.Memory["a"]
	m.Failed(w.now, Why{Reason: "ErrImagePull", Message: "no such thing"})
	if at := w.settle(); at.Sub(w.now) != BackoffBase {
		t.Errorf("retried after %v", at.Sub(w.now))
	}
	c := w.status().ContainerStatuses[0]
	if c.State.Waiting == nil || c.State.Waiting.Reason != "ErrImagePull" || c.LastTerminationState.Terminated == nil {
		t.Errorf("status = %+v", c)
	}
	w.Sandboxes[0].Ready = false
	w.RetryAt, w.Why = w.now.Add(time.Minute), Why{Reason: "FailedCreatePodSandBox"}
	if at := w.settle(); !at.Equal(w.RetryAt) {
		t.Errorf("pod woken at %v, want %v", at, w.RetryAt)
	}
}

func TestCreatedLeftoverIsStarted(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a"})
	w.settle()
	w.Containers["a"][0].State = Created
	w.trace = nil
	w.settle()
	w.wantTrace("start a 0")
	if len(w.Containers["a"]) != 1 {
		t.Error("a created container was made again instead of started")
	}
}

func TestContainersThatTheRuntimeLostTrackOf(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a"})
	w.settle()
	w.trace = nil
	w.Containers["a"][0].State = Unknown
	w.wantPhase(corev1.PodRunning)
	w.settle()
	w.wantTrace("kill a 0", "start a 1")
}
