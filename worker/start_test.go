package worker

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

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

func TestWhatAGuestCannotHaveIsNamed(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle", func(p *corev1.Pod) {
		p.Spec.ShareProcessNamespace = ptr.To(true)
		p.Spec.Containers[0].TTY = true
	}))
	p := n.until("a", "in CreateContainerConfigError", func(p *corev1.Pod) bool { return waitingReason(p) == reasonConfig })
	for _, want := range []string{"spec.containers[main].tty: Forbidden: a Wasm guest has no terminal", "spec.shareProcessNamespace: Forbidden"} {
		if got := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(got, want) {
			t.Errorf("message = %q, want %q", got, want)
		}
	}
	n.event("a", eventFailed)
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
