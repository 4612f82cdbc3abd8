package worker

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
)

// newContainerNode is a node that also has a containerd. Its pods are on the network of containerd's namespace: that
// of this machine's is no test's to touch.
func newContainerNode(t *testing.T) *testNode {
	t.Helper()
	ctd := containerdtest.Start(t, containerdtest.Config{})
	ctd.ImportBusybox()
	n := newTestNode(t)
	n.stop()
	n.cfg.ContainerdEndpoint, n.cfg.CgroupRoot = ctd.Socket(), ctd.CgroupParent+"/node"
	n.start()
	return n
}

// shellPod is a pod that runs a shell script.
func shellPod(name, script string, change ...func(*corev1.Pod)) *corev1.Pod {
	return testPod(name, containerdtest.Busybox, append([]func(*corev1.Pod){func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Command, c.TerminationMessagePath = []string{"/bin/sh", "-c", script}, corev1.TerminationMessagePathDefault
		p.Spec.HostNetwork = true
		p.Status.QOSClass = ""
	}}, change...)...)
}

// TestContainersOfProcesses holds what the worker tells containerd to what comes of it.
func TestContainersOfProcesses(t *testing.T) {
	n := newContainerNode(t)
	for name, test := range map[string]func(*testing.T, *testNode){
		"Confined": processIsConfined, "OOM": processIsKilledForMemory, "NonRoot": processMustNotBeRoot, "Hooks": processHooks,
		"Group": podHasAGroup, "Debug": processIsLookedInto, "Sysctl": sysctlIsRefused,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, &testNode{T: t, client: n.client, runtime: n.runtime, cfg: n.cfg, worker: n.worker}) // failures are the subtest's
		})
	}
}

func processIsConfined(t *testing.T, n *testNode) {
	script := `id -u; id -g; id -G; grep -E 'NoNewPrivs|CapEff|Seccomp:' /proc/self/status; touch /new 2>&1; cat /proc/self/oom_score_adj
echo "$PWD"; grep db.example /etc/hosts; printf 'all is said' > /dev/termination-log; exit 4`
	n.create(shellPod("confined", script, policy(corev1.RestartPolicyNever), func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{
			RunAsUser: ptr.To[int64](1234), RunAsGroup: ptr.To[int64](5), SupplementalGroups: []int64{77},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}
		p.Spec.HostAliases = []corev1.HostAlias{{IP: "10.1.2.3", Hostnames: []string{"db.example"}}}
		c := &p.Spec.Containers[0]
		c.WorkingDir = "/tmp"
		c.SecurityContext = &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}
	}))
	p := n.phase("confined", corev1.PodFailed)
	state := p.Status.ContainerStatuses[0].State.Terminated
	if state.ExitCode != 4 || state.Message != "all is said" || !strings.HasPrefix(state.ContainerID, "containerd://") {
		t.Errorf("state = %+v", state)
	}
	code, body := n.log("confined", "main", "")
	want := []string{"1234\n5\n", " 77", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Read-only file system", "\n1000\n/tmp\n", "10.1.2.3\tdb.example"}
	for _, w := range want {
		if code != http.StatusOK || !strings.Contains(body, w) {
			t.Errorf("%q is missing in %d %q", w, code, body)
		}
	}
}

// processIsKilledForMemory waits for one of several deaths to be explained: containerd is told of a shortage of memory by
// an event, which may come after it has forgotten the container.
func processIsKilledForMemory(_ *testing.T, n *testNode) {
	n.create(shellPod("oom", "sleep 0.2; exec dd if=/dev/zero of=/dev/null bs=256M count=1", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")}
	}))
	n.until("oom", "killed for its memory", func(p *corev1.Pod) bool {
		for _, c := range p.Status.ContainerStatuses {
			for _, end := range []*corev1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated} {
				if end != nil && end.Reason == "OOMKilled" && end.ExitCode == 137 {
					return true
				}
			}
		}
		return false
	})
	n.delete("oom", 0)
	n.gone("oom")
}

func processMustNotBeRoot(t *testing.T, n *testNode) {
	n.create(shellPod("root", "sleep 1000", func(p *corev1.Pod) {
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsNonRoot: ptr.To(true)}
	}))
	p := n.until("root", "refused", func(p *corev1.Pod) bool { return waitingReason(p) == reasonConfig })
	if got := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(got, "image will run as root") {
		t.Errorf("message = %q", got)
	}
	n.delete("root", 0)
	n.gone("root")
}

// processHooks: the container would ignore a signal for its whole grace period; its hook is what ends it.
func processHooks(t *testing.T, n *testNode) {
	const grace = 300
	command := func(script string) *corev1.ExecAction {
		return &corev1.ExecAction{Command: []string{"/bin/sh", "-c", script}}
	}
	n.create(shellPod("hooks", "trap '' TERM; while [ ! -e /tmp/stop ]; do sleep 0.05; done", func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Lifecycle = &corev1.Lifecycle{
			PostStart: &corev1.LifecycleHandler{Exec: command("touch /tmp/started")},
			PreStop:   &corev1.LifecycleHandler{Exec: command("touch /tmp/stop")},
		}
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: command("test -e /tmp/started")}, PeriodSeconds: 1, TimeoutSeconds: 10}
		p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](grace)
	}))
	n.ready("hooks")
	n.delete("hooks", grace)
	n.gone("hooks")
}

func podHasAGroup(t *testing.T, n *testNode) {
	n.create(shellPod("grouped", "sleep 1000", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceCPU: resource.MustParse("500m")}
		p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](0)
	}))
	n.ready("grouped")
	group := n.cfg.CgroupRoot + "/poduid-grouped"
	for path, want := range map[string]string{
		"cpu" + group + "/cpu.cfs_quota_us": "50000", "memory" + group + "/memory.limit_in_bytes": "67108864",
		group + "/cpu.max": "50000 100000", group + "/memory.max": "67108864",
	} {
		got, err := os.ReadFile(filepath.Join(cgroupMount, path))
		if err == nil && strings.TrimSpace(string(got)) != want { // one of the two versions is here
			t.Errorf("%s = %q, want %q", path, got, want)
		}
	}
	if found, _ := filepath.Glob(cgroupMount + "/*" + group + "/*"); len(found) == 0 {
		t.Error("the pod has no control group")
	}
	n.delete("grouped", 0)
	n.gone("grouped")
	for _, pattern := range []string{"/*", ""} {
		if left, _ := filepath.Glob(cgroupMount + pattern + group); len(left) > 0 {
			t.Errorf("control groups are left: %v", left)
		}
	}
}

func processIsLookedInto(t *testing.T, n *testNode) {
	n.create(shellPod("target", "exec sleep 54321"))
	p := n.ready("target").DeepCopy()
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{
		TargetContainerName: "main",
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: "debug", Image: containerdtest.Busybox, ImagePullPolicy: corev1.PullIfNotPresent,
			Command: []string{"/bin/sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '"},
		},
	}}
	p.Generation++
	if _, err := n.client.CoreV1().Pods("default").Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.until("target", "looked into", func(p *corev1.Pod) bool {
		all := p.Status.EphemeralContainerStatuses
		return len(all) == 1 && all[0].State.Terminated != nil
	})
	if code, body := n.log("target", "debug", ""); code != http.StatusOK || !strings.Contains(body, "sleep 54321") {
		t.Errorf("log = %d %q", code, body)
	}
}

func sysctlIsRefused(t *testing.T, n *testNode) {
	n.create(shellPod("sysctl", "true", func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}}}
	}))
	p := n.phase("sysctl", corev1.PodFailed)
	if p.Status.Reason != reasonSysctl || !strings.Contains(p.Status.Message, `Pod was rejected: forbidden sysctl: "kernel.msgmax"`) {
		t.Errorf("it is %s: %s", p.Status.Reason, p.Status.Message)
	}
	n.event("sysctl", reasonSysctl)
	n.delete("sysctl", 0)
	n.gone("sysctl")
}
