package worker

import (
	"context"
	"strconv"
	"strings"
	"time"
	"unique"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/pod"
)

// found is what a listing of the runtime holds for one pod.
type found struct {
	sandboxes  []*runtimev1.PodSandbox
	containers []*runtimev1.Container
}

// addressesTold are those that the worker gave a sandbox when it was made.
func addressesTold(s *runtimev1.PodSandbox) []string {
	told := s.GetAnnotations()[annotationPodIP]
	if told == "" {
		return nil
	}
	return strings.Split(told, ",")
}

// addressesOf are those that the runtime knows.
func addressesOf(status *runtimev1.PodSandboxStatus) (out []string) {
	if ip := status.GetNetwork().GetIp(); ip != "" {
		out = append(out, ip)
	}
	for _, more := range status.GetNetwork().GetAdditionalIps() {
		out = append(out, more.GetIp())
	}
	return out
}

// observe turns a listing into what the runtime was seen to hold. Details of containers that known holds in the same
// state are taken from there; the rest is asked for, and explained.
func observe(ctx context.Context, rt Runtime, f found, known *pod.Observed, explain func(*pod.Instance)) (pod.Observed, error) {
	out := pod.Observed{Containers: map[string][]pod.Instance{}}
	for _, s := range f.sandboxes {
		sandbox := pod.Sandbox{
			ID: s.GetId(), Attempt: s.GetMetadata().GetAttempt(), IPs: addressesTold(s),
			Ready: s.GetState() == runtimev1.PodSandboxState_SANDBOX_READY,
		}
		old := knownSandbox(known, sandbox.ID)
		sandbox.Stopped = old != nil && old.Stopped && !sandbox.Ready
		if old != nil && old.IP != "" {
			sandbox.IPs = old.IPs
		} else if sandbox.Ready && len(sandbox.IPs) == 0 {
			status, err := rt.PodSandboxStatus(ctx, sandbox.ID)
			if err != nil {
				return out, err
			}
			sandbox.IPs = addressesOf(status)
		}
		if len(sandbox.IPs) > 0 {
			sandbox.IP = sandbox.IPs[0]
		}
		out.Sandboxes = append(out.Sandboxes, sandbox)
	}
	for _, c := range f.containers {
		name := c.GetLabels()[labelContainerName]
		state := stateOf(c.GetState())
		if old := knownInstance(known, name, c.GetId()); old != nil && old.State == state {
			out.Containers[name] = append(out.Containers[name], *old)
			continue
		}
		status, _, err := rt.ContainerStatus(ctx, c.GetId(), false)
		if cri.IsNotFound(err) {
			continue
		}
		if err != nil {
			return out, err
		}
		inst := instanceOf(status, c.GetPodSandboxId())
		explain(&inst)
		out.Containers[name] = append(out.Containers[name], inst)
	}
	out.Sort()
	return out, nil
}

func knownSandbox(o *pod.Observed, id string) *pod.Sandbox {
	for i := range o.Sandboxes {
		if o.Sandboxes[i].ID == id {
			return &o.Sandboxes[i]
		}
	}
	return nil
}

func knownInstance(o *pod.Observed, name, id string) *pod.Instance {
	for i := range o.Containers[name] {
		if o.Containers[name][i].ID == id {
			return &o.Containers[name][i]
		}
	}
	return nil
}

func stateOf(s runtimev1.ContainerState) pod.State {
	switch s {
	case runtimev1.ContainerState_CONTAINER_CREATED:
		return pod.Created
	case runtimev1.ContainerState_CONTAINER_RUNNING:
		return pod.Running
	case runtimev1.ContainerState_CONTAINER_EXITED:
		return pod.Exited
	default:
		return pod.Unknown
	}
}

func instanceOf(s *runtimev1.ContainerStatus, sandboxID string) pod.Instance {
	i := pod.Instance{
		ID: s.GetId(), SandboxID: sandboxID, Name: one(s.GetLabels()[labelContainerName]), Attempt: int32(s.GetMetadata().GetAttempt()),
		State: stateOf(s.GetState()), Started: stamp(s.GetStartedAt()), Finished: stamp(s.GetFinishedAt()),
		ExitCode: s.GetExitCode(), Reason: s.GetReason(), Message: s.GetMessage(),
		Image: one(s.GetImage().GetImage()), ImageRef: one(s.GetImageRef()), Hash: one(s.GetAnnotations()[annotationHash]),
	}
	if n, err := strconv.ParseInt(s.GetAnnotations()[annotationRestartCount], 10, 32); err == nil {
		i.Attempt = int32(n)
	}
	if i.State == pod.Exited && i.Started.IsZero() { // died before it ran: its end is all there is
		i.Started = i.Finished
	}
	return i
}

// one is the string, in memory once however many pods have it.
func one(s string) string { return unique.Make(s).Value() }

func stamp(nanos int64) time.Time {
	if nanos <= 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}
