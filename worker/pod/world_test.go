package pod

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world carries out steps at once, so that tests tell stories in them.
type world struct {
	*testing.T
	View
	now   time.Time
	trace []string
	ids   int
	// hookNext is the container whose next start has a hook that does not end by itself.
	hookNext string
}

func newWorld(t *testing.T, policy corev1.RestartPolicy, inits, mains []string) *world {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod", Namespace: "ns", UID: "uid", Generation: 2}}
	p.Spec.RestartPolicy = policy
	w := &world{T: t, now: epoch}
	w.Pod, w.Memory, w.HostIP, w.RuntimeName = p, map[string]*Memory{}, "127.0.0.1", "fake"
	w.Containers = map[string][]Instance{}
	for _, name := range inits {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: name, Image: "i"})
		w.Memory[name] = &Memory{}
	}
	for _, name := range mains {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Image: "i"})
		w.Memory[name] = &Memory{Ready: true, Started: true}
	}
	return w
}

// settle does steps until there is nothing to do now, and returns when the pod wants to be woken.
func (w *world) settle() time.Time {
	w.Helper()
	for range 100 {
		step := Next(&w.View, w.now)
		if step.Kind == Wait {
			return step.At
		}
		w.do(step)
		if step.Kind == Finished {
			return time.Time{}
		}
	}
	w.Fatalf("no end of steps: %v", w.trace)
	return time.Time{}
}

func (w *world) do(step Step) {
	note := func(format string, args ...any) { w.trace = append(w.trace, fmt.Sprintf(format, args...)) }
	switch step.Kind {
	case MakeVolumes:
		w.Prepared = true
		note("volumes")
	case RunSandbox:
		note("sandbox %d", step.Attempt)
		w.Sandboxes = append(w.Sandboxes, Sandbox{ID: fmt.Sprintf("s%d", step.Attempt), Attempt: uint32(step.Attempt), Ready: true, IP: "127.42.0.1"})
	case StartContainer:
		note("start %s %d", step.Container.Name, step.Attempt)
		w.start(step)
	case KillContainers:
		for _, i := range step.Instances {
			note("kill %s %d", i.Name, i.Attempt)
			w.exit(i.Name, 143)
		}
	case RemoveContainer:
		note("remove %s %d", step.Container.Name, step.Attempt)
		all := w.Containers[step.Container.Name]
		w.Containers[step.Container.Name] = all[:len(all)-1]
	case StopSandbox:
		note("stop")
		w.loseSandbox(step.ID, 137)
		for n := range w.Sandboxes {
			w.Sandboxes[n].Stopped = w.Sandboxes[n].Stopped || w.Sandboxes[n].ID == step.ID
		}
	case RemoveSandbox:
		note("remove sandbox")
		w.ForgetSandbox(step.ID)
	case RemoveVolumes:
		note("no volumes")
		w.Prepared = false
	case Finished:
		note("finished")
	}
	w.Sort()
}

func (w *world) start(step Step) {
	if step.ID != "" {
		w.Containers[step.Container.Name][0].State = Running
		return
	}
	w.ids++
	w.Containers[step.Container.Name] = append(w.Containers[step.Container.Name], Instance{
		ID: fmt.Sprintf("c%d", w.ids), SandboxID: w.Sandbox().ID, Name: step.Container.Name, Attempt: step.Attempt,
		State: Running, Started: w.now, Hash: SpecHash(step.Container),
	})
	if w.hookNext == step.Container.Name {
		w.Memory[w.hookNext].Hook, w.hookNext = fmt.Sprintf("c%d", w.ids), ""
	}
}

func (w *world) exit(name string, code int32) {
	w.Helper()
	i := w.Newest(name)
	if i == nil || i.State != Running && i.State != Unknown {
		w.Fatalf("%s does not run: %v", name, w.trace)
	}
	i.State, i.ExitCode, i.Finished = Exited, code, w.now
	w.Memory[name].ObserveExit(i)
}

func (w *world) loseSandbox(id string, code int32) {
	for n := range w.Sandboxes {
		if w.Sandboxes[n].ID == id {
			w.Sandboxes[n].Ready = false
		}
	}
	for name, all := range w.Containers {
		if len(all) > 0 && all[0].State == Running && all[0].SandboxID == id {
			w.exit(name, code)
		}
	}
}

func (w *world) wantTrace(want ...string) {
	w.Helper()
	if fmt.Sprint(w.trace) != fmt.Sprint(want) {
		w.Errorf("steps %v, want %v", w.trace, want)
	}
	w.trace = nil
}

// status also writes itself into the pod, as a round trip through the API does.
func (w *world) status() *corev1.PodStatus {
	s := Status(&w.View, w.now)
	w.Pod.Status = s
	return &s
}

func (w *world) wantPhase(want corev1.PodPhase) *corev1.PodStatus {
	w.Helper()
	s := w.status()
	if s.Phase != want {
		w.Errorf("phase %s, want %s", s.Phase, want)
	}
	return s
}
