package worker

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// node asks the node's server.
func (n *testNode) node(path string) string {
	n.Helper()
	addr, err := n.worker.NodeAddr(n.Context())
	if err != nil {
		n.Fatal(err)
	}
	code, body := n.http("http://" + addr.String() + path)
	if code != http.StatusOK {
		n.Fatalf("GET %s: %d %s", path, code, body)
	}
	return body
}

func TestTellsWhatPodsTake(t *testing.T) {
	n := newTestNode(t)
	n.runtime.WithoutStreams() // as containerd
	n.create(testPod("a", "idle"))
	n.create(testPod("b", "idle"))
	n.runtime.SetUsage("uid-a", "main", 3e9, 4096)
	n.ready("a")
	n.ready("b")
	var summary statsv1.Summary
	if err := json.Unmarshal([]byte(n.node("/stats/summary")), &summary); err != nil {
		t.Fatal(err)
	}
	if len(summary.Pods) != 2 || summary.Node.NodeName != "node-1" || summary.Node.Fs == nil || summary.Node.Runtime == nil {
		t.Fatalf("summary = %+v", summary)
	}
	a, b := summary.Pods[0], summary.Pods[1]
	if *a.CPU.UsageCoreNanoSeconds != 3e9 || *a.Memory.WorkingSetBytes != 4096 || *a.EphemeralStorage.UsedBytes == 0 {
		t.Errorf("pod a = %+v %+v", a.CPU, a.Memory)
	}
	pod := n.get("a")
	started := pod.Status.ContainerStatuses[0].State.Running.StartedAt
	if !a.StartTime.Equal(pod.Status.StartTime) || a.Containers[0].StartTime.Unix() != started.Unix() {
		t.Errorf("pod began at %v, its container at %v; want %v, %v", a.StartTime, a.Containers[0].StartTime, pod.Status.StartTime, started)
	}
	if b.CPU.UsageCoreNanoSeconds != nil {
		t.Errorf("pod b, of which nothing was measured, took %d ns", *b.CPU.UsageCoreNanoSeconds)
	}
	for path, want := range map[string]string{
		"/metrics/resource": `pod_memory_working_set_bytes{namespace="default",pod="a"} 4096`,
		"/metrics/cadvisor": `container_memory_working_set_bytes{container="main",id="/poduid-a/`,
	} {
		if body := n.node(path); !strings.Contains(body, want) {
			t.Errorf("%s lacks %s:\n%s", path, want, body)
		}
	}
}

func TestNothingIsMeasuredUnasked(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	n.ready("a")
	n.node("/healthz")
	if calls := n.runtime.Calls("ListContainerStats") + n.runtime.Calls("ListPodSandboxStats"); calls != 0 {
		t.Errorf("the runtime was asked %d times what pods take, and nobody wanted to know", calls)
	}
}
