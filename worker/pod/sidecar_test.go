package pod

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// newSidecarWorld is a pod of init containers, of which those with a + are sidecars, and main containers.
func newSidecarWorld(t *testing.T, policy corev1.RestartPolicy, inits string, mains ...string) *world {
	w := newWorld(t, policy, nil, mains)
	for name := range strings.FieldsSeq(inits) {
		c := corev1.Container{Name: strings.TrimPrefix(name, "+"), Image: "i"}
		if c.Name != name {
			c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
		}
		w.Pod.Spec.InitContainers = append(w.Pod.Spec.InitContainers, c)
		w.Memory[c.Name] = &Memory{}
	}
	return w
}

// probed is what a container's probes say of it.
func (w *world) probed(name string) {
	w.Memory[name].Started, w.Memory[name].Ready = true, true
}

func TestSidecarsStartInTurn(t *testing.T) {
	w := newSidecarWorld(t, corev1.RestartPolicyAlways, "i +s +u", "a")
	w.settle()
	w.wantTrace("volumes", "sandbox 0", "start i 0")
	w.exit("i", 0)
	w.settle()
	w.wantTrace("start s 0")
	status := w.wantPhase(corev1.PodPending)
	if c := find(status.Conditions, corev1.PodInitialized); c.Status != corev1.ConditionFalse || c.Message != "containers with incomplete status: [s u]" {
		t.Errorf("condition = %+v", c)
	}
	w.Memory["s"].Started = true // its readiness is not waited for
	w.settle()
	w.wantTrace("start u 0")
	w.probed("u")
	w.settle()
	w.wantTrace("start a 0")
	status = w.wantPhase(corev1.PodRunning)
	if Ready(status) || find(status.Conditions, corev1.PodInitialized).Status != corev1.ConditionTrue {
		t.Errorf("conditions = %+v, want initialized and not ready: s is not", status.Conditions)
	}
	if c := find(status.Conditions, corev1.ContainersReady); c.Message != "containers with unready status: [s]" {
		t.Errorf("condition = %+v", c)
	}
	w.probed("s")
	if !Ready(w.status()) {
		t.Error("not ready though all is")
	}
}

// A sidecar that ends is started again: before the main containers, under the strictest policy, and beside them.
func TestSidecarsAreRestarted(t *testing.T) {
	w := newSidecarWorld(t, corev1.RestartPolicyNever, "+s i", "a")
	w.settle()
	w.exit("s", 0)
	w.settle()
	w.probed("s")
	w.settle()
	w.wantTrace("volumes", "sandbox 0", "start s 0", "start s 1", "start i 0")
	w.exit("s", 1)
	at := w.settle()
	if at.Sub(w.now) != BackoffBase {
		t.Errorf("wakes after %v, want the back-off", at.Sub(w.now))
	}
	w.wantTrace()
	w.exit("i", 0)
	w.settle() // the main one does not wait for a sidecar that was past its turn
	w.wantTrace("start a 0")
	w.now = at
	w.settle()
	w.wantTrace("start s 2", "remove s 0")
	if s := w.wantPhase(corev1.PodRunning).InitContainerStatuses[0]; s.RestartCount != 2 || s.State.Running == nil {
		t.Errorf("status = %+v", s)
	}
}

func TestSidecarsEndWithThePod(t *testing.T) {
	w := newSidecarWorld(t, corev1.RestartPolicyNever, "+s +u", "a")
	w.settle()
	w.probed("s")
	w.settle()
	w.probed("u")
	w.settle()
	w.trace = nil
	w.exit("a", 0)
	w.wantPhase(corev1.PodRunning) // an end is told when all of it has ended
	if step := Next(&w.View, w.now.Add(10*time.Second)); step.Kind != KillContainers || len(step.Instances) != 1 || step.Grace != 20*time.Second {
		t.Errorf("step = %+v, want what is left of the pod's 30 seconds for the last sidecar", step)
	}
	if step := Next(&w.View, w.now.Add(time.Minute)); step.Grace != MinGrace {
		t.Errorf("grace = %v, want the least", step.Grace)
	}
	w.settle()
	w.wantTrace("kill u 0", "kill s 0", "stop")
	if s := w.wantPhase(corev1.PodSucceeded).InitContainerStatuses[0]; s.State.Terminated == nil || s.State.Terminated.ExitCode != 143 {
		t.Errorf("status = %+v", s)
	}
}

func TestSidecarsOfAnInitContainerThatFails(t *testing.T) {
	w := newSidecarWorld(t, corev1.RestartPolicyNever, "+s i", "a")
	w.settle()
	w.probed("s")
	w.settle()
	w.trace = nil
	w.exit("i", 3)
	w.wantPhase(corev1.PodPending)
	w.settle()
	w.wantTrace("kill s 0", "stop")
	w.wantPhase(corev1.PodFailed)
}

func TestSidecarsAreStoppedLast(t *testing.T) {
	begin := func() *world {
		w := newSidecarWorld(t, corev1.RestartPolicyAlways, "+s +u", "a", "b")
		w.settle()
		w.probed("s")
		w.settle()
		w.probed("u")
		w.settle()
		w.trace = nil
		w.Stopping = &Stopping{Deadline: w.now.Add(10 * time.Second)}
		return w
	}
	w := begin()
	for _, want := range []struct {
		after time.Duration
		grace time.Duration
		count int
	}{{0, 10 * time.Second, 2}, {4 * time.Second, 6 * time.Second, 1}, {9500 * time.Millisecond, 500 * time.Millisecond, 1}} {
		now := w.now
		w.now = epoch.Add(want.after)
		step := Next(&w.View, w.now)
		if step.Grace != want.grace || len(step.Instances) != want.count {
			t.Errorf("after %v: step %+v, want %d instances within %v", want.after, step, want.count, want.grace)
		}
		w.do(step)
		w.now = now
	}
	w.settle()
	w.wantTrace("kill a 0", "kill b 0", "kill u 0", "kill s 0", "stop")

	w = begin()
	w.do(Next(&w.View, w.now))
	if step := Next(&w.View, w.now.Add(11*time.Second)); len(step.Instances) != 2 || step.Grace != MinGrace {
		t.Errorf("step %+v, want both sidecars at once when the time is over", step)
	}
	w = begin()
	w.Stopping.Forced = true
	if step := Next(&w.View, w.now); len(step.Instances) != 4 || step.Grace != 0 {
		t.Errorf("step %+v, want all at once", step)
	}
}

func TestSidecarInANewSandbox(t *testing.T) {
	w := newSidecarWorld(t, corev1.RestartPolicyAlways, "+s i", "a")
	w.settle()
	w.probed("s")
	w.settle()
	w.exit("i", 0)
	w.settle()
	w.trace = nil
	w.loseSandbox("s0", 137)
	w.Memory["s"].Started = false
	w.settle()
	w.wantTrace("stop", "sandbox 1", "start s 1")
	w.probed("s")
	w.settle()
	w.exit("i", 0)
	w.settle()
	w.wantTrace("start i 1", "start a 1")
}

func TestStartHooksHoldBackWhatFollows(t *testing.T) {
	w := newSidecarWorld(t, corev1.RestartPolicyAlways, "+s", "a", "b")
	w.settle()
	w.probed("s")
	w.Memory["s"].Hook = w.Newest("s").ID
	w.trace = nil
	w.settle()
	w.wantTrace()
	w.Memory["s"].Hook = ""
	w.hookNext = "a"
	w.settle()
	w.wantTrace("start a 0")
	status := w.wantPhase(corev1.PodPending).ContainerStatuses[0]
	if *status.Started || status.Ready || status.State.Running == nil {
		t.Errorf("status under its hook = %+v", status)
	}
	w.Memory["a"].Hook = ""
	w.settle()
	w.wantTrace("start b 0")
	if status := w.wantPhase(corev1.PodRunning); !Ready(status) {
		t.Errorf("conditions = %+v", status.Conditions)
	}
}

func TestContainersWithPoliciesOfTheirOwn(t *testing.T) {
	w := newWorld(t, corev1.RestartPolicyAlways, nil, []string{"a", "b"})
	w.Pod.Spec.Containers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyNever)
	w.Pod.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{
		Action:    corev1.ContainerRestartRuleActionRestart,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
	}}
	w.settle()
	w.trace = nil
	w.exit("a", 42)
	w.settle()
	w.wantTrace("start a 1")
	w.exit("a", 1)
	w.settle()
	w.wantTrace()
	w.wantPhase(corev1.PodRunning)
	w.Pod.Spec.Containers[0].RestartPolicyRules[0].ExitCodes.Operator = corev1.ContainerRestartRuleOnExitCodesOpNotIn
	w.now = w.now.Add(time.Hour)
	w.settle()
	w.wantTrace("start a 2", "remove a 0")
}

func TestEphemeralContainers(t *testing.T) {
	w := newSidecarWorld(t, corev1.RestartPolicyNever, "i", "a")
	w.settle()
	w.trace = nil
	debug := corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "d", Image: "i"}}
	w.Pod.Spec.EphemeralContainers = append(w.Pod.Spec.EphemeralContainers, debug)
	w.Memory["d"] = &Memory{}
	w.settle() // also while an init container runs
	w.wantTrace("start d 0")
	status := w.wantPhase(corev1.PodPending)
	if len(status.EphemeralContainerStatuses) != 1 || status.EphemeralContainerStatuses[0].State.Running == nil || status.EphemeralContainerStatuses[0].Ready {
		t.Errorf("status = %+v", status.EphemeralContainerStatuses)
	}
	w.exit("i", 0)
	w.settle()
	w.exit("d", 0)
	w.settle()
	w.wantTrace("start a 0") // and not d again
	if s := w.status(); !Ready(s) {
		t.Errorf("conditions = %+v", s.Conditions)
	}
	w.Pod.Spec.EphemeralContainers = append(w.Pod.Spec.EphemeralContainers, *debug.DeepCopy())
	w.Pod.Spec.EphemeralContainers[1].Name = "e"
	w.Memory["e"] = &Memory{}
	w.settle()
	w.exit("a", 0)
	w.trace = nil
	w.settle() // it does not keep a pod that is done
	w.wantTrace("kill e 0", "stop")
	w.wantPhase(corev1.PodSucceeded)
}

// An init container that keeps failing leaves no more behind than a main one.
func TestOldInitInstancesAreRemoved(t *testing.T) {
	w := newSidecarWorld(t, corev1.RestartPolicyAlways, "i", "a")
	for range 6 {
		w.now = w.settle()
		if w.now.IsZero() {
			w.now = epoch
		}
		w.settle()
		w.exit("i", 1)
	}
	w.settle()
	if n := len(w.Containers["i"]); n > keptInstances {
		t.Errorf("%d instances are kept", n)
	}
}

func TestContainerIDs(t *testing.T) {
	v := &View{RuntimeName: "fake"}
	for id, want := range map[string]string{"a": "fake://a", "containerd://a": "containerd://a"} {
		if got := containerID(v, &Instance{ID: id}); got != want {
			t.Errorf("%s is told as %s, want %s", id, got, want)
		}
	}
}
