package worker

import (
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

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
	if err := os.RemoveAll(paths(n.cfg.RootDir).spec("uid-a")); err != nil { // a pod that only the runtime remembers
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

// TestPodsThatAreCalledUnreadyAreNot: a controller that has seen the node away may say so of its pods when the worker has
// just told of them again. Nothing else need happen to a pod until that is put right.
func TestPodsThatAreCalledUnreadyAreNot(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	n.followed()
	for range 2 { // the second time it is the worker's correction that was a moment ago
		p := n.ready("a").DeepCopy()
		for i := range p.Status.Conditions {
			if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
				c.Status, c.Reason = corev1.ConditionFalse, "NodeNotReady"
			}
		}
		n.patching.Lock()
		p.ResourceVersion = strconv.FormatUint(n.version.Add(1), 10)
		err := n.client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("pods"), p, p.Namespace)
		n.patching.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		n.until("a", "ready again", isReady)
	}
}
