package worker

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/env"
	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/runtimes"
	"github.com/petrelrun/petrel/worker/service"
	"github.com/petrelrun/petrel/worker/volume"
)

func TestHosts(t *testing.T) {
	p := testPod("web-0", "i", func(p *corev1.Pod) {
		p.Spec.Subdomain = "web"
		p.Spec.HostAliases = []corev1.HostAlias{{IP: "10.0.0.1", Hostnames: []string{"a", "b.example"}}}
	})
	got := hosts(p, []string{"10.42.0.7", "fd42::7"}, "cluster.local")
	for _, want := range []string{"127.0.0.1\tlocalhost\n", "10.42.0.7\tweb-0.web.default.svc.cluster.local\tweb-0\n", "fd42::7\tweb-0.web.default.svc.cluster.local\tweb-0\n", "10.0.0.1\ta\tb.example\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if got := hosts(testPod("a", "i"), []string{"10.42.0.7"}, "cluster.local"); !strings.HasSuffix(got, "10.42.0.7\ta\n") {
		t.Errorf("hosts = %q", got)
	}
}

func TestContainerConfig(t *testing.T) {
	p := testPod("a", "i")
	c := &p.Spec.Containers[0]
	c.Stdin, c.StdinOnce, c.TTY, c.WorkingDir = true, true, true, "/w"
	c.Command, c.Args = []string{"run", "$(V)"}, []string{"$$(V)"}
	got := containerConfig(p, c, 1, []env.Var{{Name: "V", Value: "v"}}, []volume.Mount{
		{HostPath: "/h", ContainerPath: "/c", ReadOnly: true, Propagation: corev1.MountPropagationHostToContainer},
	})
	if !got.Stdin || !got.StdinOnce || !got.Tty || got.WorkingDir != "/w" || got.Command[1] != "v" || got.Args[0] != "$(V)" {
		t.Errorf("config = %v", got)
	}
	if m := got.Mounts[0]; m.Propagation != runtimev1.MountPropagation_PROPAGATION_HOST_TO_CONTAINER || !m.Readonly {
		t.Errorf("mount = %v", m)
	}
	for mode, want := range map[corev1.MountPropagationMode]runtimev1.MountPropagation{
		"": runtimev1.MountPropagation_PROPAGATION_PRIVATE, corev1.MountPropagationNone: runtimev1.MountPropagation_PROPAGATION_PRIVATE,
		corev1.MountPropagationBidirectional: runtimev1.MountPropagation_PROPAGATION_BIDIRECTIONAL,
	} {
		if got := propagation(mode); got != want {
			t.Errorf("propagation %q = %v, want %v", mode, got, want)
		}
	}
}

// TestLastWordsFromTheLog: both kinds of containers may fall back to their logs.
func TestLastWordsFromTheLog(t *testing.T) {
	n := newTestNode(t)
	fallBack := func(p *corev1.Pod) {
		p.Spec.Containers[0].TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	}
	n.create(testPod("bad", "task", args("print", "one", "complain", "two", "exit", "1"), policy(corev1.RestartPolicyNever), fallBack))
	n.create(testPod("good", "task", args("print", "one", "exit", "0"), policy(corev1.RestartPolicyNever), fallBack))
	n.create(testPod("mute", "task", args("print", "one", "exit", "1"), policy(corev1.RestartPolicyNever)))
	for name, want := range map[string]string{"bad": "one\ntwo\n", "mute": ""} {
		p := n.phase(name, corev1.PodFailed)
		if got := p.Status.ContainerStatuses[0].State.Terminated.Message; got != want {
			t.Errorf("message of %s = %q, want %q", name, got, want)
		}
	}
	if got := n.phase("good", corev1.PodSucceeded).Status.ContainerStatuses[0].State.Terminated.Message; got != "" {
		t.Errorf("message of a success = %q", got)
	}
}

func TestLastLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	line := "2026-01-01T00:00:00Z stdout F " + strings.Repeat("x", 99) + "\n"
	if err := os.WriteFile(path, []byte(strings.Repeat(line, 50)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := lastLog(path); len(got) != maxLastLog || !strings.HasSuffix(got, "x\n") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	line = "2026-01-01T00:00:00Z stdout F y\n"
	if err := os.WriteFile(path, []byte(strings.Repeat(line, 200)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := lastLog(path); got != strings.Repeat("y\n", maxLastLogLines) {
		t.Errorf("%d bytes, want %d lines", len(got), maxLastLogLines)
	}
	if got := lastLog(path + ".none"); got != "" {
		t.Errorf("of no log: %q", got)
	}
}

func TestLinked(t *testing.T) {
	got := env.Links(linked([]service.Service{
		{Name: "headless"},
		{Name: "db", ClusterIPs: []netip.Addr{netip.MustParseAddr("10.43.0.1")}, Ports: []service.Port{{Name: "sql", Protocol: "TCP", Port: 5432}}},
	}))
	want := map[string]string{"DB_SERVICE_HOST": "10.43.0.1", "DB_SERVICE_PORT_SQL": "5432", "DB_PORT_5432_TCP": "tcp://10.43.0.1:5432"}
	for _, v := range got {
		if value, asked := want[v.Name]; asked && value == v.Value {
			delete(want, v.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("%v are missing in %v", want, got)
	}
}

// TestTargetsOfDebuggers: a debugger sees the processes of a container that runs; a module has none.
func TestTargetsOfDebuggers(t *testing.T) {
	p := testPod("a", "i", func(p *corev1.Pod) {
		for name, target := range map[string]string{"of-process": "process", "of-module": "module", "of-ended": "ended", "of-none": ""} {
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{
				TargetContainerName: target, EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name},
			})
		}
	})
	a := &actor{view: pod.View{Pod: p}, kinds: &kinds{Of: map[string]runtimes.Kind{
		"process": runtimes.KindOCI, "ended": runtimes.KindOCI, "module": runtimes.KindWasm,
	}}}
	a.view.Containers = map[string][]pod.Instance{
		"process": {{ID: "containerd://one", Name: "process", State: pod.Running}}, "ended": {{ID: "containerd://two", Name: "ended", State: pod.Exited}},
	}
	for name, want := range map[string]string{"of-process": "one", "of-ended": "", "of-none": "", "main": ""} {
		if got, err := a.processesOf(name); got != want || err != nil {
			t.Errorf("%s sees %q, %v, want %q", name, got, err, want)
		}
	}
	if _, err := a.processesOf("of-module"); err == nil || !strings.Contains(err.Error(), "module is a Wasm module") {
		t.Errorf("of a module: %v", err)
	}
}
