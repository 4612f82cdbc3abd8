package worker

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/cri/crifake"
	"github.com/petrelrun/petrel/worker/service/feed/feedtest"
)

// The fake API's watches lose a goroutine when they are stopped with an event on its way; a real one's do not.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"))
}

// patience bounds each wait of these tests, on a machine that may be busy with others.
const patience = 3 * time.Minute

// testNode is a worker over a fake runtime and a fake API, each of which can be taken away.
type testNode struct {
	*testing.T
	client   *fake.Clientset
	away     atomic.Bool // the API
	patching sync.Mutex
	version  atomic.Uint64
	watches  atomic.Int64 // of pods, since the worker began
	runtime  *crifake.Runtime
	socket   string
	cfg      Config
	worker   *Worker
	stop     func()
}

// cidrs keeps tests that run at a time out of each other's addresses.
var cidrs atomic.Int32

func newTestNode(t *testing.T, objects ...runtime.Object) *testNode {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	t.Cleanup(func() { // of pods that are still there
		if err := RemoveMemory(filepath.Join(dir, "root")); err != nil {
			t.Error(err)
		}
	})
	n := &testNode{T: t, client: fake.NewClientset(objects...), runtime: crifake.New(), socket: filepath.Join(dir, "cri.sock")}
	n.client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		if n.away.Load() {
			return true, nil, fmt.Errorf("connection refused")
		}
		return false, nil, nil
	})
	n.client.PrependReactor("patch", "pods", n.patchPod)
	n.client.PrependReactor("create", "pods", n.createMirror) // all before the worker runs: the fake's list of them has no lock
	feedtest.CopyWatches(n.client, func(resource string) {
		if resource == "pods" {
			n.watches.Add(1)
		}
	})
	n.runtime.AddImage("idle", crifake.Idle)
	n.runtime.AddImage("task", crifake.Task)
	n.runtime.AddImage("web", crifake.Server(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })))
	if err := n.runtime.Serve(n.socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.runtime.Close)
	n.cfg = Config{
		Client: n.client, NodeName: "node-1", RuntimeEndpoint: n.socket, RootDir: filepath.Join(dir, "root"), MaxPods: 500,
		PodCIDR: fmt.Sprintf("127.%d.0.0/16", 100+cidrs.Add(1)), GatewayListen: "127.0.0.1:0",
		runtimeGrace: time.Nanosecond,
	}
	if os.Getenv("PETREL_TEST_LOG") != "" {
		n.cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

// patchPod gives each version of a pod a number of its own, as an API does and the fake does not: the worker tells by it
// which of two it knows is the newer.
func (n *testNode) patchPod(action clienttesting.Action) (bool, runtime.Object, error) {
	if n.away.Load() {
		return false, nil, nil // refused by the one before
	}
	n.patching.Lock()
	defer n.patching.Unlock()
	_, object, err := clienttesting.ObjectReaction(n.client.Tracker())(action)
	if err != nil {
		return true, nil, err
	}
	pod := object.(*corev1.Pod).DeepCopy()
	pod.ResourceVersion = strconv.FormatUint(n.version.Add(1), 10)
	if err := n.client.Tracker().Update(action.GetResource(), pod, pod.Namespace); err != nil {
		return true, nil, err
	}
	return true, pod.DeepCopy(), nil
}

// start runs a worker; stop ends it as a killed process ends, without a word to pods.
func (n *testNode) start() {
	n.Helper()
	n.watches.Store(0)
	w, err := New(n.cfg)
	if err != nil {
		n.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	n.worker = w
	n.stop = func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				n.Error(err)
			}
		case <-time.After(patience):
			n.Error("the worker does not end")
		}
		n.stop = func() {}
	}
}

// followed waits until the worker watches the pods: what changes between its list and its watch the fake API keeps from it.
func (n *testNode) followed() {
	n.Helper()
	n.eventually("the worker to watch pods", func() bool { return n.watches.Load() > 0 })
}

func (n *testNode) restart() {
	n.Helper()
	n.stop()
	n.start()
}

// pod is one of the node's.
func testPod(name, image string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name), CreationTimestamp: metav1.Now(), ResourceVersion: "1", Generation: 1},
		Spec: corev1.PodSpec{
			NodeName: "node-1", RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers: []corev1.Container{{Name: "main", Image: image, ImagePullPolicy: corev1.PullIfNotPresent}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending, QOSClass: corev1.PodQOSBestEffort},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func args(a ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Args = a }
}

func policy(r corev1.RestartPolicy) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.RestartPolicy = r }
}

func (n *testNode) create(p *corev1.Pod) {
	n.Helper()
	if _, err := n.client.CoreV1().Pods(p.Namespace).Create(n.Context(), p, metav1.CreateOptions{}); err != nil {
		n.Fatal(err)
	}
}

func (n *testNode) get(name string) *corev1.Pod {
	n.Helper()
	p, err := n.client.CoreV1().Pods("default").Get(n.Context(), name, metav1.GetOptions{})
	if err != nil {
		n.Fatal(err)
	}
	return p
}

// delete asks for a pod's deletion as the API does: the worker has to end it.
func (n *testNode) delete(name string, grace int64) {
	n.Helper()
	p := n.get(name).DeepCopy()
	at := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
	p.Generation++
	if _, err := n.client.CoreV1().Pods("default").Update(n.Context(), p, metav1.UpdateOptions{}); err != nil {
		n.Fatal(err)
	}
}

func (n *testNode) eventually(what string, ok func() bool) {
	n.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// until waits for the pod to be as asked, and shows how it was instead.
func (n *testNode) until(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	n.Helper()
	var p *corev1.Pod
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if p = n.get(name); ok(p) {
			return p
		}
		if time.Now().After(deadline) {
			n.Fatalf("waited %v for %s to be %s; its status is %+v", patience, name, what, p.Status)
		}
	}
}

func (n *testNode) ready(name string) *corev1.Pod {
	n.Helper()
	return n.until(name, "ready", isReady)
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (n *testNode) phase(name string, want corev1.PodPhase) *corev1.Pod {
	n.Helper()
	return n.until(name, string(want), func(p *corev1.Pod) bool { return p.Status.Phase == want })
}

func (n *testNode) gone(name string) {
	n.Helper()
	n.eventually(name+" to leave the API", func() bool {
		_, err := n.client.CoreV1().Pods("default").Get(n.Context(), name, metav1.GetOptions{})
		return err != nil
	})
}

// event waits for an event of the pod.
func (n *testNode) event(name, reason string) *corev1.Event {
	n.Helper()
	var found *corev1.Event
	n.eventually("event "+reason+" of "+name, func() bool {
		list, err := n.client.CoreV1().Events("default").List(n.Context(), metav1.ListOptions{})
		if err != nil {
			return false
		}
		for i := range list.Items {
			if e := &list.Items[i]; e.InvolvedObject.Name == name && e.Reason == reason {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

func waitingReason(p *corev1.Pod) string {
	if len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Waiting == nil {
		return ""
	}
	return p.Status.ContainerStatuses[0].State.Waiting.Reason
}

func restarts(p *corev1.Pod) int32 {
	if len(p.Status.ContainerStatuses) == 0 {
		return 0
	}
	return p.Status.ContainerStatuses[0].RestartCount
}

// log reads a container's log from the node's server.
func (n *testNode) log(pod, container, query string) (int, string) {
	n.Helper()
	addr, err := n.worker.NodeAddr(n.Context())
	if err != nil {
		n.Fatal(err)
	}
	return n.http("http://" + addr.String() + "/containerLogs/default/" + pod + "/" + container + "?" + query)
}
