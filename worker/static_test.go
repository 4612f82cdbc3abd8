package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/petrelrun/petrel/worker/staticpods"
)

// staticNode is a node with a directory of static pods, before an API that gives pods their UIDs.
type staticNode struct {
	*testNode
	dir string
}

func newStaticNode(t *testing.T, files map[string]string) *staticNode {
	n := &staticNode{testNode: newTestNode(t), dir: t.TempDir()}
	n.stop()
	n.cfg.StaticPods = n.dir
	for name, text := range files {
		n.put(name, text)
	}
	n.start()
	return n
}

// createMirror gives mirror pods UIDs, as an API does and the fake does not.
func (n *testNode) createMirror(action clienttesting.Action) (bool, runtime.Object, error) {
	p := action.(clienttesting.CreateAction).GetObject().(*corev1.Pod)
	if staticpods.IsMirror(p) && !n.away.Load() {
		p.UID = types.UID(fmt.Sprint("mirror-", n.version.Add(1)))
		p.ResourceVersion, p.Status.QOSClass = "1", corev1.PodQOSBestEffort
	}
	return false, nil, nil
}

func (n *staticNode) put(name, text string) {
	n.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
		n.Fatal(err)
	}
}

func (n *staticNode) remove(name string) {
	n.Helper()
	if err := os.Remove(filepath.Join(n.dir, name)); err != nil {
		n.Fatal(err)
	}
}

// running waits for so many containers to run.
func (n *staticNode) running(want int) {
	n.Helper()
	n.eventually(fmt.Sprint(want, " running containers"), func() bool { return n.runtime.RunningContainers() == want })
}

// mirrored waits for the pod's mirror to be as asked.
func (n *staticNode) mirrored(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	n.Helper()
	var found *corev1.Pod
	n.eventually(name+" to be "+what, func() bool {
		p, err := n.client.CoreV1().Pods("default").Get(n.Context(), name, metav1.GetOptions{})
		found = p
		return err == nil && ok(p)
	})
	return found
}

func (n *staticNode) ready(name string) *corev1.Pod {
	n.Helper()
	return n.mirrored(name, "ready", isReady)
}

func staticText(name, image, more string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {app: %s}}\nspec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: %s, imagePullPolicy: IfNotPresent}]%s}\n", name, name, image, more)
}

func TestStaticPods(t *testing.T) {
	n := newStaticNode(t, map[string]string{"a.yaml": staticText("a", "idle", ""), "broken.yaml": "{"})
	first := n.ready("a-node-1")
	if !staticpods.IsMirror(first) || first.Labels["app"] != "a" || first.Status.PodIP == "" || first.Status.QOSClass != corev1.PodQOSBestEffort {
		t.Errorf("mirror = %+v %+v", first.ObjectMeta, first.Status)
	}
	n.running(1)
	if code, _ := n.log("a-node-1", "main", ""); code != 200 {
		t.Errorf("its log: %d", code)
	}

	n.delete("a-node-1", 30) // it is made anew, and the pod runs on
	second := n.mirrored("a-node-1", "made anew and ready", func(p *corev1.Pod) bool { return p.UID != first.UID && isReady(p) })
	if restarts(second) != 0 || second.Status.ContainerStatuses[0].ContainerID != first.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("the pod was restarted: %+v", second.Status.ContainerStatuses)
	}

	n.put("a.yaml", staticText("a", "idle", ", hostname: other")) // another text is another pod
	n.mirrored("a-node-1", "another", func(p *corev1.Pod) bool { return p.Spec.Hostname == "other" && isReady(p) })
	n.running(1)

	n.remove("a.yaml")
	n.gone("a-node-1")
	n.running(0)
	n.eventually("the sandbox to go", func() bool { return n.runtime.Sandboxes() == 0 })
}

func TestStaticPodsNeedNoAPI(t *testing.T) {
	n := newStaticNode(t, nil)
	n.stop()
	n.away.Store(true)
	n.put("a.yaml", staticText("a", "idle", ""))
	n.start()
	n.running(1)
	n.away.Store(false)
	mirror := n.ready("a-node-1")

	n.away.Store(true) // a worker that starts without the API takes them over
	n.restart()
	n.running(1)
	n.put("b.yaml", staticText("b", "idle", ""))
	n.running(2)
	n.away.Store(false)
	n.ready("b-node-1")
	if again := n.ready("a-node-1"); again.UID != mirror.UID || restarts(again) != 0 ||
		again.Status.ContainerStatuses[0].ContainerID != mirror.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("after the restart: %+v", again.Status)
	}
}

func TestStaticPodsThatWentWhileTheWorkerWasAway(t *testing.T) {
	n := newStaticNode(t, map[string]string{"a.yaml": staticText("a", "idle", ""), "b.yaml": staticText("b", "idle", "")})
	n.ready("a-node-1")
	n.ready("b-node-1")
	n.stop()
	n.remove("a.yaml")
	n.start()
	n.gone("a-node-1")
	n.running(1)
	n.stop()
	n.cfg.StaticPods = "" // and without a directory there are none
	n.start()
	n.gone("b-node-1")
	n.running(0)
}

func TestAStaticTaskIsDoneOnce(t *testing.T) {
	n := newStaticNode(t, map[string]string{"a.yaml": strings.Replace(staticText("a", "task", ", restartPolicy: Never"), "main,", "main, args: [print, done],", 1)})
	done := func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded }
	p := n.mirrored("a-node-1", "done", done)
	id := p.Status.ContainerStatuses[0].ContainerID
	n.eventually("what it ran to be let go of", func() bool { return n.runtime.Sandboxes() == 0 })
	n.restart()
	n.create(testPod("other", "idle"))
	n.ready("other")
	if again := n.mirrored("a-node-1", "done", done); again.Status.ContainerStatuses[0].ContainerID != id || n.runtime.RunningContainers() != 1 {
		t.Errorf("it ran again: %+v", again.Status.ContainerStatuses)
	}
}
