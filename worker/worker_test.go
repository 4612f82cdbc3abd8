package worker

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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

func (n *testNode) http(url string) (int, string) {
	n.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		n.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		n.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestPodRunsAndIsDeleted(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	p := n.ready("a")
	if p.Status.Phase != corev1.PodRunning || !strings.HasPrefix(p.Status.PodIP, "127.") || p.Status.HostIP != "127.0.0.1" || p.Status.StartTime == nil {
		t.Errorf("status = %+v", p.Status)
	}
	c := p.Status.ContainerStatuses[0]
	if c.State.Running == nil || !c.Ready || !strings.HasPrefix(c.ContainerID, "crifake://") || c.ImageID == "" || c.RestartCount != 0 {
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
		_, errSpec := os.Stat(paths(n.cfg.RootDir).pod(p.UID))
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

func TestWorkerRestartTouchesNoPod(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	n.create(testPod("b", "task", args("sleep", "600000")))
	before := n.ready("a")
	n.ready("b")
	n.runtime.Kill("uid-b", "main", 1)
	b := n.until("b", "restarted", func(p *corev1.Pod) bool { return restarts(p) == 1 && isReady(p) })
	starts := n.runtime.Calls("StartContainer")
	n.restart()
	n.create(testPod("c", "idle"))
	c := n.ready("c")
	if got := n.runtime.Calls("StartContainer"); got != starts+1 {
		t.Errorf("%d containers were started by the restart, want only the new pod's", got-starts)
	}
	after := n.get("a")
	if after.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID || after.Status.PodIP != before.Status.PodIP {
		t.Errorf("pod changed from %+v to %+v", before.Status, after.Status)
	}
	if c.Status.PodIP == before.Status.PodIP || c.Status.PodIP == b.Status.PodIP {
		t.Errorf("address %s was given twice", c.Status.PodIP)
	}
	n.runtime.Kill("uid-b", "main", 1)
	n.until("b", "restarted again, counting on", func(p *corev1.Pod) bool { return restarts(p) == 2 })
}

func TestOrphansGoOnlyAfterTheAPIWasSeen(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	n.create(testPod("b", "idle"))
	n.ready("a")
	n.ready("b")
	n.stop()
	if err := n.client.CoreV1().Pods("default").Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(paths(n.cfg.RootDir).pod("uid-a")); err != nil { // a pod that only the runtime remembers
		t.Fatal(err)
	}
	n.away.Store(true)
	n.start()
	time.Sleep(500 * time.Millisecond)
	if got := n.runtime.RunningContainers(); got != 2 {
		t.Fatalf("%d containers run while the API is away, want both", got)
	}
	n.away.Store(false)
	n.eventually("the orphan to go", func() bool { return n.runtime.RunningContainers() == 1 && n.runtime.Sandboxes() == 1 })
	n.ready("a")
	if got := n.runtime.Calls("StartContainer"); got != 2 {
		t.Errorf("%d starts, want 2: the pod that was forgotten was running all the time", got)
	}
}

func TestAPIAway(t *testing.T) {
	n := newTestNode(t)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm", Namespace: "default"}, Data: map[string]string{"k": "from the API"}}
	if err := n.client.Tracker().Add(config); err != nil {
		t.Fatal(err)
	}
	n.create(testPod("a", "task", args("env", "K", "sleep", "600000"), func(p *corev1.Pod) {
		p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "K", Value: "$(k)"}}
	}))
	n.ready("a")
	n.away.Store(true)
	n.runtime.Kill("uid-a", "main", 1)
	n.eventually("a restart without the API", func() bool { return n.runtime.Calls("StartContainer") == 2 })
	n.restart() // and one of the worker, which has to know the pod from disk
	n.eventually("the pod to be adopted", func() bool { return n.worker.pool.Used() == 1 })
	n.runtime.Kill("uid-a", "main", 1)
	n.eventually("a restart by the new worker", func() bool { return n.runtime.Calls("StartContainer") == 3 })
	if code, body := n.log("a", "main", ""); code != http.StatusOK || body != "K=from the API\n" {
		t.Errorf("log = %d %q, want the last known value", code, body)
	}
	n.away.Store(false)
	p := n.until("a", "told", func(p *corev1.Pod) bool { return restarts(p) == 2 && isReady(p) })
	if p.Status.ContainerStatuses[0].LastTerminationState.Terminated == nil {
		t.Errorf("container = %+v", p.Status.ContainerStatuses[0])
	}
}

func TestRuntimeAwayAndBack(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	before := n.ready("a")
	n.runtime.Hang()
	n.create(testPod("b", "idle"))
	n.eventually("the node to say so", func() bool { return n.nodeReady() == corev1.ConditionFalse })
	if p := n.get("a"); !isReady(p) {
		t.Errorf("a pod is said to be unwell because the runtime does not answer: %+v", p.Status)
	}
	if err := n.runtime.Serve(n.socket); err != nil {
		t.Fatal(err)
	}
	n.ready("b")
	n.eventually("the node to be ready", func() bool { return n.nodeReady() == corev1.ConditionTrue })
	if got := n.get("a").Status.ContainerStatuses[0]; got.ContainerID != before.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("the pod was restarted: %+v", got)
	}
	n.runtime.Kill("uid-a", "main", 9) // its events come again
	n.until("a", "restarted", func(p *corev1.Pod) bool { return restarts(p) == 1 && isReady(p) })
}

func (n *testNode) nodeReady() corev1.ConditionStatus {
	node, err := n.client.CoreV1().Nodes().Get(n.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		return corev1.ConditionUnknown
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}

func TestRuntimeWithoutEvents(t *testing.T) {
	n := newTestNode(t)
	n.stop()
	n.runtime.WithoutEvents()
	n.start()
	n.create(testPod("a", "idle"))
	n.ready("a")
	n.runtime.Kill("uid-a", "main", 1)
	n.until("a", "restarted", func(p *corev1.Pod) bool { return restarts(p) == 1 && isReady(p) })
}

func TestLostSandboxIsMadeAnew(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	before := n.ready("a")
	n.runtime.LoseSandbox("uid-a")
	p := n.until("a", "running in a new sandbox", func(p *corev1.Pod) bool { return restarts(p) == 1 && isReady(p) })
	if p.Status.PodIP != before.Status.PodIP {
		t.Errorf("address changed from %s to %s", before.Status.PodIP, p.Status.PodIP)
	}
	n.event("a", eventSandboxChanged)
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

func TestImagePullFailure(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "no/such:image"))
	p := n.until("a", "in ErrImagePull", func(p *corev1.Pod) bool { return waitingReason(p) == reasonPull })
	if got := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(got, "manifest unknown") || p.Status.Phase != corev1.PodPending {
		t.Errorf("phase %s, message %q", p.Status.Phase, got)
	}
	n.event("a", eventFailed)
	n.create(testPod("b", "never/pulled:image", func(p *corev1.Pod) { p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever }))
	n.until("b", "in ErrImageNeverPull", func(p *corev1.Pod) bool { return waitingReason(p) == reasonNeverPull })
}

func TestMissingConfigIsNamedAndWaitedFor(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "task", args("env", "V", "sleep", "600000"), func(p *corev1.Pod) {
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "V", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k",
		}}}}
	}))
	p := n.until("a", "in CreateContainerConfigError", func(p *corev1.Pod) bool { return waitingReason(p) == reasonConfig })
	if got := p.Status.ContainerStatuses[0].State.Waiting.Message; got != `variable V: secret "s" not found` {
		t.Errorf("message = %q", got)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}, Data: map[string][]byte{"k": []byte("v")}}
	if _, err := n.client.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.ready("a")
}

func TestVolumesAndDownwardAPI(t *testing.T) {
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm", Namespace: "default"}, Data: map[string]string{"greeting": "hello from a file"}}
	n := newTestNode(t, config)
	n.create(testPod("a", "task", policy(corev1.RestartPolicyNever), args("file", "/etc/app/greeting", "env", "IP", "exit", "0"), func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}}}
		c := &p.Spec.Containers[0]
		c.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/etc/app"}}
		c.Env = []corev1.EnvVar{{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}
	}))
	p := n.phase("a", corev1.PodSucceeded)
	if _, body := n.log("a", "main", ""); body != "hello from a file <nil>\nIP="+p.Status.PodIP+"\n" {
		t.Errorf("log = %q", body)
	}
	n.create(testPod("b", "idle", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}}}
	}))
	if e := n.event("b", eventFailedMount); !strings.Contains(e.Message, "volume type is not supported") {
		t.Errorf("event = %q", e.Message)
	}
}

func TestUnsupportedProbesAreRefused(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle", func(p *corev1.Pod) {
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
	}))
	p := n.until("a", "in CreateContainerConfigError", func(p *corev1.Pod) bool { return waitingReason(p) == reasonConfig })
	if got := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(got, "use httpGet or tcpSocket") {
		t.Errorf("message = %q", got)
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

func TestReadinessIsKeptOverARestartOfTheWorker(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "web", func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Ports = []corev1.ContainerPort{{ContainerPort: 8080}}
		c.ReadinessProbe = &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}, PeriodSeconds: 60,
		}
	}))
	before := n.ready("a")
	unready := make(chan struct{}, 100)
	n.stop()
	watch, err := n.client.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for e := range watch.ResultChan() {
			if p, ok := e.Object.(*corev1.Pod); ok && p.Name == "a" && !isReady(p) {
				unready <- struct{}{}
			}
		}
	}()
	n.start()
	n.create(testPod("b", "idle"))
	n.ready("b")
	time.Sleep(200 * time.Millisecond)
	watch.Stop()
	if len(unready) > 0 {
		t.Error("the pod was told to be unready by the restart")
	}
	if got := n.get("a"); !isReady(got) || got.Status.PodIP != before.Status.PodIP {
		t.Errorf("status = %+v", got.Status)
	}
}

func TestInitContainersRunFirst(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle", func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{
			{Name: "one", Image: "task", Args: []string{"print", "1", "exit", "0"}},
			{Name: "two", Image: "task", Args: []string{"print", "2", "sleep", "50"}},
		}
	}))
	p := n.ready("a")
	one, two := p.Status.InitContainerStatuses[0].State.Terminated, p.Status.InitContainerStatuses[1].State.Terminated
	if one == nil || two == nil || two.StartedAt.Before(&one.FinishedAt) {
		t.Errorf("init containers = %+v", p.Status.InitContainerStatuses)
	}
	if _, body := n.log("a", "two", ""); body != "2\n" {
		t.Errorf("log = %q", body)
	}
}

func TestActiveDeadline(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](1) }))
	n.ready("a")
	p := n.phase("a", corev1.PodFailed)
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

func TestRuntimeThatFailsIsTriedAgain(t *testing.T) {
	n := newTestNode(t)
	n.runtime.Fail("RunPodSandbox", status.Error(codes.Internal, "no room"))
	n.create(testPod("a", "idle"))
	if e := n.event("a", eventFailedSandbox); !strings.Contains(e.Message, "no room") {
		t.Errorf("event = %q", e.Message)
	}
	n.until("a", "told why", func(p *corev1.Pod) bool {
		return waitingReason(p) == "ContainerCreating" && strings.Contains(p.Status.ContainerStatuses[0].State.Waiting.Message, "no room")
	})
	n.runtime.Fail("RunPodSandbox", nil)
	n.runtime.Fail("StartContainer", status.Error(codes.Internal, "no start"))
	n.until("a", "in RunContainerError", func(p *corev1.Pod) bool { return waitingReason(p) == reasonRun })
}

func TestLimitsReachTheRuntime(t *testing.T) {
	p := testPod("a", "idle")
	c := &p.Spec.Containers[0]
	c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceCPU: resource.MustParse("500m")}
	c.Ports = []corev1.ContainerPort{{ContainerPort: 8080}, {ContainerPort: 53, Protocol: corev1.ProtocolUDP}}
	p.Annotations = map[string]string{"petrel.run/wall-time": "5s", "other": "not told"}
	config := containerConfig(p, c, 2, nil, nil)
	r := config.GetLinux().GetResources()
	if r.GetMemoryLimitInBytes() != 64<<20 || r.GetCpuQuota() != 50_000 || r.GetCpuPeriod() != 100_000 || r.GetCpuShares() != 512 {
		t.Errorf("resources = %v", r)
	}
	if config.GetLogPath() != "main/2.log" || config.GetAnnotations()[annotationRestartCount] != "2" {
		t.Errorf("log path %q, annotations %v", config.GetLogPath(), config.GetAnnotations())
	}
	sandbox := sandboxConfig(p, 1, "127.42.0.7", "/logs")
	if len(sandbox.GetPortMappings()) != 2 || sandbox.GetAnnotations()["petrel.run/wall-time"] != "5s" || sandbox.GetAnnotations()["other"] != "" || sandbox.GetAnnotations()[annotationPodIP] != "127.42.0.7" {
		t.Errorf("sandbox = %v", sandbox)
	}
}

func TestNodeServer(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "task", args("print", "first", "sleep", "300", "print", "last", "exit", "0")))
	n.ready("a")
	if code, body := n.log("a", "main", "follow=true"); code != http.StatusOK || body != "first\nlast\n" {
		t.Errorf("followed log = %d %q: a follow has to end with its container", code, body)
	}
	n.until("a", "restarted", func(p *corev1.Pod) bool { return restarts(p) >= 1 })
	if code, body := n.log("a", "main", "previous=true&tailLines=1"); code != http.StatusOK || body != "last\n" {
		t.Errorf("previous log = %d %q", code, body)
	}
	for query, want := range map[string]int{"tailLines=x": 400, "follow=maybe": 400, "sinceTime=yesterday": 400} {
		if code, _ := n.log("a", "main", query); code != want {
			t.Errorf("%s: %d, want %d", query, code, want)
		}
	}
	if code, _ := n.log("none", "main", ""); code != http.StatusNotFound {
		t.Errorf("log of an unknown pod: %d", code)
	}
	if code, _ := n.log("a", "none", ""); code != http.StatusNotFound {
		t.Errorf("log of an unknown container: %d", code)
	}
	addr, _ := n.worker.NodeAddr(t.Context())
	if code, body := n.http("http://" + addr.String() + "/metrics"); code != http.StatusOK ||
		!strings.Contains(body, `petrel_worker_pods{phase="Running"} 1`) || !strings.Contains(body, `petrel_worker_runtime_call_seconds_count{code="OK",method="RunPodSandbox"} 1`) {
		t.Errorf("metrics = %d %s", code, body)
	}
	if code, body := n.http("http://" + addr.String() + "/pods"); code != http.StatusOK || !strings.Contains(body, `"name":"a"`) {
		t.Errorf("pods = %d %s", code, body)
	}
	for _, change := range []func(*http.Request){
		func(r *http.Request) { r.Host = "evil.example" },
		func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr.String()+"/pods", nil)
		change(req)
		answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusForbidden {
			t.Errorf("a foreign request got %s", answer.Status)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no client":     func(c *Config) { c.Client = nil },
		"relative root": func(c *Config) { c.RootDir = "root" },
		"bad prefix":    func(c *Config) { c.PodCIDR = "127.42.0.0" },
		"bad listen":    func(c *Config) { c.GatewayListen = "8081" },
		"bad address":   func(c *Config) { c.NodeIP = "localhost" },
		"no runtime":    func(c *Config) { c.RuntimeEndpoint = "" },
	} {
		cfg := Config{Client: fake.NewClientset(), RootDir: "/r", RuntimeEndpoint: "/s"}
		spoil(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
