package worker

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/cri/crifake"
)

// diary notes what happens, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// program notes its container's start and stop.
func (d *diary) program(name string) crifake.Program {
	return func(p *crifake.Process) int32 {
		d.note("start " + name)
		<-p.Stop
		d.note("stop " + name)
		return 0
	}
}

// hooks answers HTTP hooks and notes them; what is under /slow is not answered before release, or the caller's end.
func (d *diary) hooks(t *testing.T, release <-chan struct{}) func(path string) *corev1.LifecycleHandler {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.note("hook " + strings.TrimPrefix(r.URL.Path, "/"))
		switch {
		case strings.HasPrefix(r.URL.Path, "/slow"):
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case strings.HasPrefix(r.URL.Path, "/bad"):
			http.Error(w, "out of order", http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	return func(path string) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Host: host, Port: intstr.Parse(port), Path: path}}
	}
}

func execProbe(command ...string) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: command}}, PeriodSeconds: 1, FailureThreshold: 1}
}

func sidecar(name, image string) corev1.Container {
	return corev1.Container{Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}
}

func TestSidecarsLiveAroundThePod(t *testing.T) {
	n := newTestNode(t)
	var d diary
	for _, name := range []string{"s", "u", "main"} {
		n.runtime.AddImage("noting-"+name, d.program(name))
	}
	flag := filepath.Join(t.TempDir(), "started")
	n.create(testPod("a", "noting-main", func(p *corev1.Pod) {
		s := sidecar("s", "noting-s")
		s.StartupProbe = execProbe("need", flag)
		s.StartupProbe.FailureThreshold = 1000
		p.Spec.InitContainers = []corev1.Container{s, sidecar("u", "noting-u")}
		p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](30)
	}))
	n.event("a", eventUnhealthy)
	p := n.until("a", "held up by its sidecar", func(p *corev1.Pod) bool {
		return len(p.Status.InitContainerStatuses) == 2 && p.Status.InitContainerStatuses[0].State.Running != nil
	})
	if p.Status.InitContainerStatuses[1].State.Waiting == nil || p.Status.Phase != corev1.PodPending {
		t.Errorf("status = %+v", p.Status)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.ready("a")
	n.runtime.Kill("uid-a", "u", 1)
	n.until("a", "running with a new sidecar", func(p *corev1.Pod) bool {
		return p.Status.InitContainerStatuses[1].RestartCount == 1 && isReady(p)
	})
	n.eventually("the diary to have the crash", func() bool { return slices.Contains(d.read(), "stop u") })
	n.delete("a", 30)
	n.gone("a")
	stops := slices.DeleteFunc(d.read(), func(line string) bool { return strings.HasPrefix(line, "start") })
	if want := []string{"stop u", "stop main", "stop u", "stop s"}; !slices.Equal(stops, want) {
		t.Errorf("it came to %q, want %q", stops, want)
	}
}

func TestSidecarsEndWithTheTask(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "task", args("exit", "0"), policy(corev1.RestartPolicyNever), func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{sidecar("s", "idle")}
	}))
	p := n.phase("a", corev1.PodSucceeded)
	if s := p.Status.InitContainerStatuses[0]; s.State.Terminated == nil || s.RestartCount != 0 {
		t.Errorf("sidecar = %+v", s)
	}
	n.eventually("the sandbox to go", func() bool { return n.runtime.Sandboxes() == 0 })
}

// TestHooks: what follows waits for a start hook, a stop hook comes before the stop, and neither for ever.
func TestHooks(t *testing.T) {
	n := newTestNode(t)
	var d diary
	release := make(chan struct{})
	hook := d.hooks(t, release)
	n.runtime.AddImage("first", d.program("first"))
	n.runtime.AddImage("second", d.program("second"))
	n.create(testPod("a", "first", func(p *corev1.Pod) {
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook("/slow-start"), PreStop: hook("/stop")}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "other", Image: "second", ImagePullPolicy: corev1.PullIfNotPresent})
	}))
	p := n.until("a", "under its hook", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 2 && p.Status.ContainerStatuses[0].State.Running != nil
	})
	if s := p.Status.ContainerStatuses[0]; s.Ready || *s.Started || p.Status.ContainerStatuses[1].State.Waiting == nil {
		t.Errorf("statuses = %+v", p.Status.ContainerStatuses)
	}
	close(release)
	n.ready("a")
	n.delete("a", 5)
	n.gone("a")
	got := d.read()
	at := func(line string) int { return slices.Index(got, line) }
	if at("start first") < 0 || at("hook slow-start") > at("start second") || at("hook stop") < 0 || at("hook stop") > at("stop first") {
		t.Errorf("it came to %q", got)
	}
}

func TestStartHookThatFails(t *testing.T) {
	n := newTestNode(t)
	var d diary
	hook := d.hooks(t, nil)
	n.create(testPod("a", "idle", func(p *corev1.Pod) {
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook("/bad"), PreStop: hook("/bad-too")}
	}))
	if e := n.event("a", eventPostStart); !strings.Contains(e.Message, "statuscode: 500: out of order") || e.InvolvedObject.FieldPath != "spec.containers{main}" {
		t.Errorf("event = %q at %s", e.Message, e.InvolvedObject.FieldPath)
	}
	n.event("a", eventPreStop)
	n.until("a", "started again", func(p *corev1.Pod) bool { return restarts(p) > 0 })
}

// A pod that is deleted while its start hook hangs ends all the same, within the grace period that was given last.
func TestHooksDoNotOutliveThePod(t *testing.T) {
	n := newTestNode(t)
	var d diary
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	hook := d.hooks(t, never)
	n.create(testPod("a", "idle", func(p *corev1.Pod) {
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook("/slow-start"), PreStop: hook("/slow-stop")}
		p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](600)
	}))
	n.eventually("the start hook", func() bool { return slices.Contains(d.read(), "hook slow-start") })
	n.delete("a", 600)
	n.eventually("the stop hook", func() bool { return slices.Contains(d.read(), "hook slow-stop") })
	n.delete("a", 1)
	n.gone("a")
	if got := d.read(); len(got) != 2 {
		t.Errorf("it came to %q, want each hook once", got)
	}
}

// A container that dies under its start hook is started again, and the hook of the dead one says nothing of the new.
func TestContainerDiesUnderItsHook(t *testing.T) {
	n := newTestNode(t)
	var d diary
	release := make(chan struct{})
	hook := d.hooks(t, release)
	n.create(testPod("a", "idle", func(p *corev1.Pod) {
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook("/slow")}
	}))
	n.eventually("the hook", func() bool { return len(d.read()) == 1 })
	n.runtime.Kill("uid-a", "main", 1)
	n.eventually("the next hook", func() bool { return len(d.read()) == 2 })
	close(release)
	p := n.ready("a")
	if restarts(p) != 1 {
		t.Errorf("restarted %d times", restarts(p))
	}
}

func TestExecProbes(t *testing.T) {
	n := newTestNode(t)
	flag := filepath.Join(t.TempDir(), "ready")
	n.create(testPod("a", "idle", func(p *corev1.Pod) { p.Spec.Containers[0].ReadinessProbe = execProbe("need", flag) }))
	if e := n.event("a", eventUnhealthy); !strings.Contains(e.Message, "exited with 9") {
		t.Errorf("event = %q", e.Message)
	}
	if isReady(n.get("a")) {
		t.Error("ready though its probe fails")
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.ready("a")
	n.create(testPod("b", "idle", func(p *corev1.Pod) { p.Spec.Containers[0].LivenessProbe = execProbe("exit", "1") }))
	n.until("b", "restarted by its liveness probe", func(p *corev1.Pod) bool { return restarts(p) >= 1 })
}

// TestProbesWhileTheRuntimeIsAway: what cannot be asked is not judged.
func TestProbesWhileTheRuntimeIsAway(t *testing.T) {
	n := newTestNode(t)
	n.runtime.Fail("ExecSync", status.Error(codes.Unavailable, "connection refused"))
	n.create(testPod("a", "idle", func(p *corev1.Pod) {
		p.Spec.Containers[0].LivenessProbe = execProbe("exit", "0")
		p.Spec.Containers[0].ReadinessProbe = execProbe("exit", "0")
	}))
	before := n.runtime.Calls("ExecSync")
	n.eventually("more checks than a probe allows to fail", func() bool { return n.runtime.Calls("ExecSync") > before+4 })
	if e := n.event("a", eventUnhealthy); !strings.Contains(e.Message, "probe errored and resulted in unknown state: ") {
		t.Errorf("event = %q", e.Message)
	}
	n.runtime.Fail("ExecSync", nil)
	if p := n.ready("a"); restarts(p) != 0 {
		t.Errorf("restarted %d times", restarts(p))
	}
}

// TestStartHookIsNotRepeatedByTheNextWorker: what ran before it is taken as it is.
func TestStartHookIsNotRepeatedByTheNextWorker(t *testing.T) {
	n := newTestNode(t)
	var d diary
	hook := d.hooks(t, nil)
	n.create(testPod("a", "idle", func(p *corev1.Pod) { p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook("/start")} }))
	n.ready("a")
	n.restart()
	n.create(testPod("b", "idle"))
	n.ready("b")
	n.runtime.Kill("uid-a", "main", 1)
	n.until("a", "restarted", func(p *corev1.Pod) bool { return restarts(p) == 1 && isReady(p) })
	if got := d.read(); len(got) != 2 {
		t.Errorf("it came to %q, want one hook for each instance", got)
	}
}

func TestEphemeralContainersRunOnce(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	p := n.ready("a").DeepCopy()
	for i, image := range []string{"task", "no/such:image"} {
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: fmt.Sprintf("debug%d", i), Image: image, Args: []string{"print", "looked", "exit", "3"}, ImagePullPolicy: corev1.PullIfNotPresent,
		}})
	}
	p.Generation++
	if _, err := n.client.CoreV1().Pods("default").Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p = n.until("a", "looked into", func(p *corev1.Pod) bool {
		all := p.Status.EphemeralContainerStatuses
		return len(all) == 2 && all[0].State.Terminated != nil && all[1].State.Waiting != nil && all[1].State.Waiting.Reason == reasonPull
	})
	if got := p.Status.EphemeralContainerStatuses[0].State.Terminated; got.ExitCode != 3 || !isReady(p) {
		t.Errorf("status = %+v", p.Status)
	}
	if code, body := n.log("a", "debug0", ""); code != http.StatusOK || body != "looked\n" {
		t.Errorf("log = %d %q", code, body)
	}
	starts := n.runtime.Calls("StartContainer")
	n.restart()
	n.runtime.LoseSandbox("uid-a")
	n.until("a", "in a new sandbox", func(p *corev1.Pod) bool { return restarts(p) == 1 && isReady(p) })
	if got := n.runtime.Calls("StartContainer"); got != starts+1 {
		t.Errorf("%d containers were started, want only the main one", got-starts)
	}
}
