package pod

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of waiting and terminated containers, as clients of Kubernetes know them.
const (
	ReasonCreating     = "ContainerCreating"
	ReasonInitializing = "PodInitializing"
	ReasonCrashLoop    = "CrashLoopBackOff"
	ReasonCompleted    = "Completed"
	ReasonError        = "Error"
	ReasonUnknown      = "ContainerStatusUnknown"
)

// lostExitCode is what a container is said to have ended with when nobody saw it end.
const lostExitCode = 137

// Status is the pod's status as of now. What other writers own in it (conditions of the scheduler, QoS class) is taken
// over from the pod, as are times of what has not changed.
func Status(v *View, now time.Time) corev1.PodStatus {
	old := &v.Pod.Status
	status := corev1.PodStatus{
		ObservedGeneration: v.Pod.Generation,
		Phase:              phase(v),
		HostIP:             v.HostIP,
		HostIPs:            []corev1.HostIP{{IP: v.HostIP}},
		QOSClass:           QOS(v.Pod),
		NominatedNodeName:  old.NominatedNodeName,
		Resize:             old.Resize,
		StartTime:          v.last().StartTime,
	}
	if status.StartTime == nil {
		start := metav1.NewTime(now).Rfc3339Copy()
		status.StartTime = &start
	}
	if v.Stopping != nil {
		status.Reason, status.Message = v.Stopping.Why.Reason, v.Stopping.Why.Message
	}
	status.PodIP, status.PodIPs = podIPs(v)
	for c, role := range Containers(v.Pod) {
		list := &status.ContainerStatuses
		switch role {
		case Init, Sidecar:
			list = &status.InitContainerStatuses
		case Ephemeral:
			list = &status.EphemeralContainerStatuses
		}
		*list = append(*list, containerStatus(v, c, role, now))
	}
	status.Conditions = conditions(v, &status, now)
	return status
}

// podIPs keeps the address of a pod whose sandbox is down: clients like to know which it was.
func podIPs(v *View) (string, []corev1.PodIP) {
	if len(v.Sandboxes) > 0 && v.Sandboxes[0].IP != "" {
		out := []corev1.PodIP{{IP: v.Sandboxes[0].IP}}
		for _, ip := range v.Sandboxes[0].IPs[min(1, len(v.Sandboxes[0].IPs)):] {
			out = append(out, corev1.PodIP{IP: ip})
		}
		return v.Sandboxes[0].IP, out
	}
	return v.last().PodIP, v.last().PodIPs
}

func phase(v *View) corev1.PodPhase {
	over := len(v.Running()) == 0 // an end is told when nothing runs any more, sidecars neither
	if v.Stopping != nil && over {
		return endPhase(v)
	}
	if ended, succeeded := v.Ended(); ended && over {
		if succeeded {
			return corev1.PodSucceeded
		}
		return corev1.PodFailed
	}
	if done, _ := v.initialized(); !done {
		return corev1.PodPending
	}
	// A pod that has run is Running between its containers' restarts; one whose last container never began is Pending.
	for i := range v.Pod.Spec.Containers {
		if inst := v.newest(v.Pod.Spec.Containers[i].Name); inst == nil || inst.State == Created {
			if inst == nil || inst.Attempt == 0 {
				return corev1.PodPending
			}
		}
	}
	return corev1.PodRunning
}

// endPhase judges a pod that was stopped.
func endPhase(v *View) corev1.PodPhase {
	if v.Stopping.Why.Reason != "" {
		return corev1.PodFailed
	}
	for i := range v.Pod.Spec.Containers {
		inst := v.newest(v.Pod.Spec.Containers[i].Name)
		if inst == nil || inst.State != Exited || inst.ExitCode != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

func containerStatus(v *View, c *corev1.Container, role Role, now time.Time) corev1.ContainerStatus {
	m := v.memory(c.Name)
	inst := v.newest(c.Name)
	out := corev1.ContainerStatus{Name: c.Name, Image: c.Image, Started: new(bool)}
	if inst == nil {
		out.State = neverRan(v, c, role)
		if v.stopped() {
			out.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: lostExitCode, Reason: ReasonUnknown, Message: "the pod was stopped before the container ran",
			}}
		}
		return out
	}
	out.RestartCount = inst.Attempt
	out.ImageID = inst.ImageRef
	out.ContainerID = containerID(v, inst)
	if inst.Image != "" {
		out.Image = inst.Image
	}
	previous := v.Previous(c.Name)
	if previous != nil && previous.State == Exited {
		out.LastTerminationState = terminated(v, previous)
	}
	switch inst.State {
	case Running, Unknown:
		*out.Started = m.Started && m.Hook != inst.ID || role == Init
		out.Ready = m.Ready && *out.Started && (role == Main || role == Sidecar)
		tellResources(v, c, &out)
		out.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: second(inst.Started)}}
	case Created:
		out.State = waiting(m, ReasonCreating)
	default:
		exitedStatus(v, c, inst, role, now, &out)
	}
	return out
}

// exitedStatus tells whether the container is done, or waits to run again with its end as the last state.
func exitedStatus(v *View, c *corev1.Container, inst *Instance, role Role, now time.Time, out *corev1.ContainerStatus) {
	m := v.memory(c.Name)
	out.Ready = role == Init && inst.ExitCode == 0
	state := terminated(v, inst)
	ended, _ := v.Ended()
	if ended || v.Stopping != nil || !restarts(v.Pod, c, role, inst.ExitCode) {
		out.State = state
		return
	}
	switch {
	case m.Waiting.Reason != "":
		out.State, out.LastTerminationState = waiting(m, ReasonCreating), state
	case now.Before(inst.Finished.Add(m.RestartDelay())):
		out.LastTerminationState = state
		out.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
			Reason:  ReasonCrashLoop,
			Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", m.RestartDelay(), c.Name, v.Pod.Name, v.Pod.Namespace, v.Pod.UID),
		}}
	default:
		out.State = state
	}
}

func neverRan(v *View, c *corev1.Container, role Role) corev1.ContainerState {
	m := v.memory(c.Name)
	if m.Waiting.Reason == "" && v.Why.Reason != "" {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: ReasonCreating, Message: v.Why.Message}}
	}
	if len(v.Pod.Spec.InitContainers) > 0 && role != Ephemeral && (role != Main || !v.mainsMayRun()) {
		return waiting(m, ReasonInitializing)
	}
	return waiting(m, ReasonCreating)
}

func (v *View) mainsMayRun() bool {
	done, _ := v.initialized()
	return done
}

// stopped reports whether the pod was ended and nothing of it runs.
func (v *View) stopped() bool { return v.Stopping != nil && len(v.Running()) == 0 }

func waiting(m *Memory, otherwise string) corev1.ContainerState {
	if m.Waiting.Reason != "" {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: m.Waiting.Reason, Message: m.Waiting.Message}}
	}
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: otherwise}}
}

func terminated(v *View, i *Instance) corev1.ContainerState {
	reason := i.Reason
	if reason == "" {
		reason = ReasonCompleted
		if i.ExitCode != 0 {
			reason = ReasonError
		}
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: i.ExitCode, Reason: reason, Message: i.Message,
		StartedAt: second(i.Started), FinishedAt: second(i.Finished), ContainerID: containerID(v, i),
	}}
}

// second is the time as the API keeps it.
func second(t time.Time) metav1.Time { return metav1.NewTime(t).Rfc3339Copy() }

func containerID(v *View, i *Instance) string { return ContainerID(v.RuntimeName, i.ID) }

// ContainerID is an instance's ID as statuses tell it, with its runtime. One that names it already stays as it is.
func ContainerID(runtime, id string) string {
	if strings.Contains(id, "://") {
		return id
	}
	return runtime + "://" + id
}

// Ready reports whether the status says that the pod is ready.
func Ready(status *corev1.PodStatus) bool {
	return slices.ContainsFunc(status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Terminal reports whether the phase is one that a pod never leaves.
func Terminal(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}
