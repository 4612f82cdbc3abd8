package worker

import (
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/cri/crifake"
)

// deaf is a program that does not hear when it is asked to end.
func deaf(p *crifake.Process) int32 {
	<-p.Killed
	return 0
}

func TestPodRunsAndIsDeleted(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	p := n.ready("a")
	if p.Status.Phase != corev1.PodRunning || !strings.HasPrefix(p.Status.PodIP, "127.") || p.Status.HostIP != "127.0.0.1" || p.Status.StartTime == nil {
		t.Errorf("status = %+v", p.Status)
	}
	c := p.Status.ContainerStatuses[0]
	if c.State.Running == nil || !c.Ready || !strings.HasPrefix(c.ContainerID, "petrel-wasmrt://") || c.ImageID == "" || c.RestartCount != 0 {
		t.Errorf("container = %+v", c)
	}
	for key, want := range map[string]string{"petrel.run/kind": "command", "petrel.run/compile-us": "1200", "petrel.run/compile-cached": "true", "petrel.run/cold-start-us": "340"} {
		if got := p.Annotations[key]; got != want {
			t.Errorf("annotation %s = %q, want %q", key, got, want)
		}
	}
	for _, reason := range []string{eventPulling, eventPulled, eventCreated, eventStarted} {
		n.event("a", reason)
	}
	if n.runtime.PodCIDR() != n.cfg.PodCIDR {
		t.Errorf("runtime was told pods are in %q", n.runtime.PodCIDR())
	}
	n.delete("a", 1)
	n.gone("a")
	n.event("a", eventKilling)
	n.eventually("the runtime to be empty", func() bool { return n.runtime.Sandboxes() == 0 })
	n.eventually("the files to be gone", func() bool {
		_, errSpec := os.Stat(paths(n.cfg.RootDir).spec(p.UID))
		_, errLogs := os.Stat(paths(n.cfg.RootDir).logs(p))
		return os.IsNotExist(errSpec) && os.IsNotExist(errLogs)
	})
	if used := n.worker.pool.Used(); used != 0 {
		t.Errorf("%d addresses are still used", used)
	}
}

func TestTaskRunsToItsEnd(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("good", "task", policy(corev1.RestartPolicyNever), args("print", "done", "exit", "0")))
	n.create(testPod("bad", "task", policy(corev1.RestartPolicyNever), args("complain", "oh no", "exit", "3")))
	p := n.phase("good", corev1.PodSucceeded)
	if got := p.Status.ContainerStatuses[0].State.Terminated; got == nil || got.ExitCode != 0 || got.Reason != "Completed" {
		t.Errorf("container = %+v", p.Status.ContainerStatuses[0])
	}
	p = n.phase("bad", corev1.PodFailed)
	if got := p.Status.ContainerStatuses[0].State.Terminated; got == nil || got.ExitCode != 3 || got.Reason != "Error" {
		t.Errorf("container = %+v", p.Status.ContainerStatuses[0])
	}
	n.eventually("ended pods to release their sandboxes", func() bool { return n.runtime.Sandboxes() == 0 && n.worker.pool.Used() == 0 })
	for pod, want := range map[string]string{"good": "done\n", "bad": "oh no\n"} {
		if code, body := n.log(pod, "main", ""); code != http.StatusOK || body != want {
			t.Errorf("log of %s after its end = %d %q, want %q", pod, code, body, want)
		}
	}
	n.restart() // must not run them again
	n.create(testPod("later", "idle"))
	n.ready("later")
	if got := n.runtime.Calls("StartContainer"); got != 3 {
		t.Errorf("%d containers were started, want 3", got)
	}
	if code, body := n.log("good", "main", ""); body != "done\n" {
		t.Errorf("log after a restart of the worker = %d %q", code, body)
	}
}

func TestCrashesAreRestartedWithBackOff(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "task", args("exit", "1")))
	p := n.until("a", "in CrashLoopBackOff", func(p *corev1.Pod) bool { return waitingReason(p) == "CrashLoopBackOff" })
	c := p.Status.ContainerStatuses[0]
	if c.RestartCount != 1 || c.LastTerminationState.Terminated == nil || c.LastTerminationState.Terminated.ExitCode != 1 {
		t.Errorf("container = %+v", c)
	}
	if p.Status.Phase != corev1.PodRunning || isReady(p) {
		t.Errorf("phase %s, ready %v", p.Status.Phase, isReady(p))
	}
	n.event("a", eventBackOff)
}

// TestAddressesOutliveTheRuntime: until the API is told otherwise, endpoints and clients know a pod by its address, so
// no other pod may have it when everything comes up again.
func TestAddressesOutliveTheRuntime(t *testing.T) {
	n := newTestNode(t)
	before := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		n.create(testPod(name, "idle"))
		before[name] = n.ready(name).Status.PodIP
	}
	n.stop()
	for name := range before {
		n.runtime.LoseSandbox("uid-" + name)
	}
	n.start()
	for name, ip := range before {
		p := n.until(name, "running again", func(p *corev1.Pod) bool { return restarts(p) == 1 && isReady(p) })
		if p.Status.PodIP != ip {
			t.Errorf("pod %s had %s and has %s", name, ip, p.Status.PodIP)
		}
	}
}

func TestProbes(t *testing.T) {
	n := newTestNode(t)
	probe := func(path string) *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(8080)}},
			PeriodSeconds: 1, FailureThreshold: 1,
		}
	}
	web := func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080}} }
	n.create(testPod("good", "web", web, func(p *corev1.Pod) { p.Spec.Containers[0].ReadinessProbe = probe("/") }))
	n.ready("good")
	n.create(testPod("idle", "idle", web, func(p *corev1.Pod) {
		p.Spec.Containers[0].ReadinessProbe = probe("/")
		p.Spec.Containers[0].LivenessProbe = probe("/")
	}))
	if e := n.event("idle", eventUnhealthy); !strings.Contains(e.Message, "probe failed") {
		t.Errorf("event = %q", e.Message)
	}
	n.until("idle", "restarted by its liveness probe", func(p *corev1.Pod) bool { return restarts(p) >= 1 })
	if isReady(n.get("idle")) {
		t.Error("ready though nothing answers")
	}
}

func TestActiveDeadline(t *testing.T) {
	n := newTestNode(t)
	began := time.Now()
	n.create(testPod("a", "idle", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](2) }))
	p := n.phase("a", corev1.PodFailed)
	if took := time.Since(began); took < time.Second { // start times are whole seconds
		t.Errorf("ended after %s", took)
	}
	if p.Status.Reason != "DeadlineExceeded" || n.runtime.RunningContainers() != 0 {
		t.Errorf("reason %q, %d containers run", p.Status.Reason, n.runtime.RunningContainers())
	}
}

func TestForcedDeletionAndShorterGrace(t *testing.T) {
	n := newTestNode(t)
	stubborn := func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](600) }
	n.runtime.AddImage("stubborn", deaf)
	n.create(testPod("a", "stubborn", stubborn))
	n.create(testPod("b", "stubborn", stubborn))
	n.ready("a")
	n.ready("b")
	n.delete("a", 600)
	n.eventually("the container to be asked to stop", func() bool { return n.runtime.Calls("StopContainer") == 1 })
	n.delete("a", 1) // somebody lost patience
	n.gone("a")
	if err := n.client.CoreV1().Pods("default").Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.eventually("the vanished pod to be stopped", func() bool { return n.runtime.Sandboxes() == 0 })
}

func TestConfigIsChecked(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no client":     func(c *Config) { c.Client = nil },
		"relative root": func(c *Config) { c.RootDir = "root" },
		"bad prefix":    func(c *Config) { c.PodCIDR = "127.42.0.0" },
		"bad listen":    func(c *Config) { c.GatewayListen = "8081" },
		"bad address":   func(c *Config) { c.NodeIPs = []netip.Addr{netip.IPv4Unspecified()} },
		"no runtime":    func(c *Config) { c.RuntimeEndpoint = "" },
	} {
		cfg := Config{Client: fake.NewClientset(), RootDir: "/r", RuntimeEndpoint: "/s"}
		spoil(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
