package worker

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/worker/cri/crifake"
	"github.com/petrelrun/petrel/worker/runtimes"
)

// newContainersNode is a test node with a second runtime, for containers, whose image is "box".
func newContainersNode(t *testing.T) (*testNode, *crifake.Runtime, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("%s needs root: pods of containers have control groups", t.Name())
	}
	n := newTestNode(t)
	n.stop()
	containers := crifake.New()
	containers.AddImage("box", crifake.Idle)
	socket := filepath.Join(t.TempDir(), "cri.sock")
	if err := containers.Serve(socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(containers.Close)
	n.cfg.ContainerdEndpoint, n.cfg.containerdPatience = socket, 100*time.Millisecond
	n.cfg.CgroupRoot = fmt.Sprintf("/petrel-test-%d-%s", os.Getpid(), t.Name())
	t.Cleanup(func() {
		n.stop()
		if err := n.worker.groups.Close(); err != nil {
			t.Error(err)
		}
	})
	n.start()
	return n, containers, socket
}

// onHost puts a pod on the machine's network, where containers can be on a node of loopback addresses.
func onHost(p *corev1.Pod) { p.Spec.HostNetwork = true }

// told are the messages of a pod's events with a reason.
func (n *testNode) told(name, reason string) (out []string) {
	n.Helper()
	list, err := n.client.CoreV1().Events("default").List(n.Context(), metav1.ListOptions{})
	if err != nil {
		n.Fatal(err)
	}
	for _, e := range list.Items {
		if e.InvolvedObject.Name == name && e.Reason == reason {
			out = append(out, e.Message)
		}
	}
	return out
}

func runBy(runtime string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		return isReady(p) && strings.HasPrefix(p.Status.ContainerStatuses[0].ContainerID, runtime+"://")
	}
}

func TestEachPodHasItsRuntime(t *testing.T) {
	n, containers, _ := newContainersNode(t)
	n.create(testPod("module", "idle"))
	n.create(testPod("container", "box", onHost))
	n.until("module", "run by petrel-wasmrt", runBy(runtimes.Wasm))
	p := n.until("container", "run by containerd", runBy(runtimes.Containerd))
	if p.Status.PodIP != p.Status.HostIP {
		t.Errorf("the pod on the host's network is at %s, the host at %s", p.Status.PodIP, p.Status.HostIP)
	}
	for name, image := range map[string]string{"module": "idle", "container": "box"} { // both were pulled to see what they are
		n.event(name, eventStarted) // comes after all that is told of the image
		if got := n.told(name, eventPulling); len(got) != 1 || got[0] != `Pulling image "`+image+`"` {
			t.Errorf("%s: while it was pulled it was told %q", name, got)
		}
		if got := n.told(name, eventPulled); len(got) != 1 || !strings.HasPrefix(got[0], `Successfully pulled image "`+image+`" in `) {
			t.Errorf("%s: when it was pulled it was told %q", name, got)
		}
	}
	n.eventually("the node to tell what it runs", func() bool {
		node, err := n.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
		if err != nil || node.Labels[labelRunsContainers] != "true" {
			return false
		}
		has := map[string]bool{}
		for _, h := range node.Status.RuntimeHandlers {
			has[h.Name] = true
		}
		return has[""] && has[runtimes.HandlerWasm]
	})
	n.delete("container", 0)
	n.gone("container")
	n.eventually("its sandbox to go", func() bool { return containers.Sandboxes() == 0 })
}

// beside adds containers to a pod.
func beside(images map[string]string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, name := range slices.Sorted(maps.Keys(images)) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Image: images[name]})
		}
	}
}

// states are the runtimes of a pod's containers, or why they wait.
func states(p *corev1.Pod) map[string]string {
	out := map[string]string{}
	for _, c := range p.Status.ContainerStatuses {
		switch {
		case c.State.Running != nil:
			out[c.Name], _, _ = strings.Cut(c.ContainerID, "://")
		case c.State.Waiting != nil:
			out[c.Name] = c.State.Waiting.Reason
		}
	}
	return out
}

// TestImageThatIsNotThere: it holds back its own container, whatever the others of the pod are; when it comes, the container
// runs beside them, by what it turns out to be, also under a worker that was started since.
func TestImageThatIsNotThere(t *testing.T) {
	n, containers, _ := newContainersNode(t)
	are := func(want map[string]string) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool { return maps.Equal(states(p), want) }
	}
	n.create(testPod("container", "box", onHost, beside(map[string]string{"later": "later", "never": "never"})))
	n.create(testPod("module", "idle", onHost, beside(map[string]string{"later": "later"})))
	n.create(testPod("nothing", "never", onHost, beside(map[string]string{"later": "later"})))
	waits := func(p *corev1.Pod) bool { return states(p)["later"] == reasonPull && p.Status.PodIP != "" }
	before := map[string]*corev1.Pod{
		"container": n.until("container", "running but for what waits", func(p *corev1.Pod) bool { return waits(p) && states(p)["main"] == runtimes.Containerd }),
		"module":    n.until("module", "running but for what waits", func(p *corev1.Pod) bool { return waits(p) && states(p)["main"] == runtimes.Wasm }),
	}
	n.until("nothing", "waiting for all its images", are(map[string]string{"main": reasonPull, "later": reasonPull}))
	if p := n.get("nothing"); containers.SandboxConfig(string(p.UID)) != nil {
		t.Error("a pod of which nothing is known has a sandbox")
	}

	n.runtime.AddImage("later", crifake.Idle)
	n.restart() // which forgets how long to wait
	n.until("container", "running all that can be", are(map[string]string{"main": runtimes.Containerd, "later": runtimes.Wasm, "never": reasonPull}))
	n.until("module", "running whole", are(map[string]string{"main": runtimes.Wasm, "later": runtimes.Wasm}))
	n.until("nothing", "running what can be", are(map[string]string{"main": reasonPull, "later": runtimes.Wasm}))
	for name, p := range before {
		if now := n.get(name); restarts(now) != 0 || now.Status.ContainerStatuses[0].ContainerID != p.Status.ContainerStatuses[0].ContainerID {
			t.Errorf("%s was started anew: %+v", name, now.Status.ContainerStatuses)
		}
	}
	for _, name := range []string{"container", "module", "nothing"} {
		n.delete(name, 0)
		n.gone(name)
	}
	n.eventually("the sandboxes to go", func() bool { return containers.Sandboxes() == 0 && n.runtime.Sandboxes() == 0 })
}

func TestContainersNeedANetwork(t *testing.T) {
	n, _, _ := newContainersNode(t)
	n.create(testPod("container", "box"))
	n.event("container", eventFailedSandbox)
	if e := n.event("container", eventFailedSandbox); !strings.Contains(e.Message, "loopback addresses") {
		t.Errorf("the event says %q", e.Message)
	}
}

// TestOneRuntimeAway: pods of the other run, and its own are taken over when it is back.
func TestOneRuntimeAway(t *testing.T) {
	n, containers, socket := newContainersNode(t)
	n.create(testPod("before", "box", onHost))
	before := n.until("before", "run by containerd", runBy(runtimes.Containerd))
	containers.Hang()
	n.create(testPod("module", "idle"))
	n.until("module", "run by petrel-wasmrt", runBy(runtimes.Wasm))
	n.create(testPod("waits", "box", onHost))
	n.restart()
	n.delete("module", 0)
	n.gone("module")
	n.create(testPod("another", "idle"))
	n.ready("another")
	if p := n.get("waits"); p.Status.Phase == corev1.PodRunning {
		t.Errorf("a container runs without its runtime: %+v", p.Status)
	}

	if err := containers.Serve(socket); err != nil {
		t.Fatal(err)
	}
	n.until("waits", "run by containerd", runBy(runtimes.Containerd))
	after := n.until("before", "ready", isReady)
	if id := after.Status.ContainerStatuses[0].ContainerID; id != before.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("the pod that ran was started anew: %s", id)
	}
	if restarts(after) != 0 {
		t.Errorf("%d restarts", restarts(after))
	}
}

func TestRuntimeClasses(t *testing.T) {
	n, _, _ := newContainersNode(t)
	classed := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.RuntimeClassName = &name }
	}
	class := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "fancy"}, Handler: "kata"}
	if _, err := n.client.NodeV1().RuntimeClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.create(testPod("module", "idle", classed("wasm")))
	n.until("module", "run by petrel-wasmrt", runBy(runtimes.Wasm))
	for name, want := range map[string]string{"fancy": `"kata"`, "none": `RuntimeClass "none" not found`} {
		n.create(testPod("pod-"+name, "box", classed(name), onHost))
		if e := n.event("pod-"+name, eventFailedSandbox); !strings.Contains(e.Message, want) {
			t.Errorf("%s: the event says %q, want %q", name, e.Message, want)
		}
	}
}

// TestOwnAnnotations: what a pod says of the worker's own annotations does not reach a runtime.
func TestOwnAnnotations(t *testing.T) {
	p := testPod("p", "idle")
	p.Annotations = map[string]string{
		runtimes.AnnotationNetns: "/proc/1/ns/net", runtimes.AnnotationKind: "both", annotationPodIP: "10.0.0.1",
		annotationPrefix + "module-file": "/etc/shadow", annotationPrefix + "egress": "dns", "other": "x",
	}
	got := sandboxConfig(p, 0, "127.42.0.7", "/logs").GetAnnotations()
	if len(got) != 2 || got[annotationPodIP] != "127.42.0.7" || got[annotationPrefix+"egress"] != "dns" {
		t.Errorf("the runtime is told %v", got)
	}
}

func TestKindOfAPod(t *testing.T) {
	wasm, oci := runtimes.KindWasm, runtimes.KindOCI
	for _, c := range []struct {
		of   map[string]runtimes.Kind
		want runtimes.Kind
	}{
		{nil, wasm}, {map[string]runtimes.Kind{"a": wasm}, wasm}, {map[string]runtimes.Kind{"a": oci}, oci},
		{map[string]runtimes.Kind{"a": oci, "b": wasm}, runtimes.KindBoth},
	} {
		k := &kinds{Of: c.of}
		if got := k.pod(); got != c.want {
			t.Errorf("%v is %s, want %s", c.of, got, c.want)
		}
		for _, name := range []string{runtimes.Wasm, runtimes.Containerd} {
			uses := c.want == runtimes.KindBoth || (name == runtimes.Wasm) == (c.want == wasm)
			if k.anyOf(map[string]bool{name: true}) != uses {
				t.Errorf("%v uses %s: %v", c.of, name, !uses)
			}
		}
	}
	if (*kinds)(nil).anyOf(nil) || !(*kinds)(nil).anyOf(map[string]bool{runtimes.Containerd: true}) {
		t.Error("a pod of which nothing is known may be of any runtime that there is")
	}
}
