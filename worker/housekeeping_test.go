package worker

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/cri/crifake"
	"github.com/petrelrun/petrel/worker/eviction"
)

// keeping is a node that keeps house in its own way.
func keeping(t *testing.T, h Housekeeping) *testNode {
	n := newTestNode(t)
	n.stop()
	n.cfg.Housekeeping = h
	n.start()
	return n
}

// more than any machine has.
const beyond = 1 << 60

func critical(p *corev1.Pod) { p.Spec.Priority = ptr.To[int32](criticalPriority) }

// uses says what a pod takes before it is there.
func (n *testNode) uses(name string, memory uint64) {
	n.runtime.SetUsage("uid-"+name, "main", 1, memory)
}

func TestEvictsUnderMemoryPressure(t *testing.T) {
	n := keeping(t, Housekeeping{Eviction: []eviction.Threshold{{Signal: eviction.MemoryAvailable, Amount: beyond}}})
	for name, memory := range map[string]uint64{"hog": 4096, "idle": 0, "critical": 8192} {
		n.uses(name, memory)
		p := testPod(name, "idle")
		if name == "critical" {
			critical(p)
		}
		n.create(p)
	}
	p := n.phase("hog", corev1.PodFailed)
	if p.Status.Reason != "Evicted" || !strings.Contains(p.Status.Message, "low on resource: memory") {
		t.Errorf("status = %+v", p.Status)
	}
	if !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == "TerminationByKubelet"
	}) {
		t.Errorf("conditions = %+v", p.Status.Conditions)
	}
	n.event("hog", "Evicted")
	n.eventually("the node to say so", func() bool {
		node, err := n.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
		return err == nil && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeMemoryPressure && c.Status == corev1.ConditionTrue
		})
	})
	n.eventually("its container to end", func() bool { return n.runtime.RunningContainers() == 2 })
	n.ready("idle")
	n.ready("critical")
	node, err := n.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil || !node.Status.Allocatable.Memory().IsZero() {
		t.Errorf("allocatable memory below the threshold = %v, %v", node.Status.Allocatable.Memory(), err)
	}
}

func TestFreesDisk(t *testing.T) {
	n := keeping(t, Housekeeping{Eviction: []eviction.Threshold{{Signal: eviction.NodeFSAvailable, Amount: beyond}}})
	n.runtime.AddImage("other", crifake.Idle)
	n.runtime.AddImage("petrel.internal/pause:1", crifake.Idle)
	n.create(testPod("kept", "idle", critical))
	n.create(testPod("pause", "petrel.internal/pause:1", critical))
	n.create(testPod("gone", "other", critical))
	n.ready("kept")
	n.ready("pause")
	n.ready("gone")
	n.delete("gone", 0)
	n.delete("pause", 0)
	n.create(testPod("common", "idle"))
	n.eventually("the unused image to go", func() bool { return !slices.Contains(n.runtime.Images(), "other") })
	if p := n.phase("common", corev1.PodFailed); p.Status.Reason != "Evicted" || !strings.Contains(p.Status.Message, "ephemeral-storage") {
		t.Errorf("status = %+v", p.Status)
	}
	if images := n.runtime.Images(); !slices.Equal(images, []string{"idle", "petrel.internal/pause:1"}) {
		t.Errorf("images = %v", images)
	}
	n.ready("kept")
}

// Where the disk is short, images that nothing uses are removed every other second. Pods come and go meanwhile: each gets its
// image, and keeps it.
func TestFreesDiskWhilePodsCome(t *testing.T) {
	n := keeping(t, Housekeeping{Eviction: []eviction.Threshold{{Signal: eviction.NodeFSAvailable, Amount: beyond}}})
	const kinds, rounds = 4, 3
	for i := range kinds {
		n.runtime.AddImage(fmt.Sprint("image-", i), crifake.Idle)
	}
	n.create(testPod("stays", "image-0", critical))
	n.ready("stays")
	begun := n.runtime.Calls("ListImages")
	for i := 0; n.runtime.Calls("ListImages") < begun+rounds; i++ {
		name := fmt.Sprint("pod-", i)
		n.create(testPod(name, fmt.Sprint("image-", i%kinds), critical))
		if p := n.ready(name); restarts(p) != 0 {
			t.Errorf("%s was restarted: %+v", name, p.Status)
		}
		n.delete(name, 0)
		n.gone(name)
	}
	n.eventually("all but the one in use to go", func() bool { return slices.Equal(n.runtime.Images(), []string{"image-0"}) })
	if restarts(n.ready("stays")) != 0 {
		t.Error("the pod that stays was restarted")
	}
	events, err := n.client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events.Items {
		if e := &events.Items[i]; e.Type == corev1.EventTypeWarning && e.InvolvedObject.Kind == "Pod" && e.Reason != "DNSConfigForming" {
			t.Errorf("%s: %s: %s", e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
}

func TestRotatesLogs(t *testing.T) {
	n := keeping(t, Housekeeping{LogSize: 4096, LogFiles: 2, logInterval: 20 * time.Millisecond})
	long := strings.Repeat("x", 5000)
	n.create(testPod("a", "task", args("print", "first", "print", long, "sleep", "100", "print", "last", "sleep", "600000")))
	n.ready("a")
	dir := filepath.Join(n.cfg.RootDir, "logs", "pods", "default_a_uid-a", "main")
	n.eventually("the log to be moved aside", func() bool {
		entries, err := os.ReadDir(dir)
		return err == nil && len(entries) == 2
	})
	n.eventually("every line to be there, once", func() bool { // whichever file it came into
		var lines []string
		for _, name := range n.glob(dir + "/*") {
			content, err := os.ReadFile(name)
			if os.IsNotExist(err) { // moved aside meanwhile
				return false
			}
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, strings.Fields(string(content))...)
		}
		count := func(word string) int {
			return len(slices.DeleteFunc(slices.Clone(lines), func(w string) bool { return w != word }))
		}
		return count("first") == 1 && count(long) == 1 && count("last") == 1
	})
	if code, _ := n.log("a", "main", ""); code != http.StatusOK {
		t.Errorf("the log that goes on: %d", code)
	}
	n.delete("a", 0)
	n.gone("a")
	n.eventually("all logs to go", func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	})
}

func (n *testNode) glob(pattern string) []string {
	n.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		n.Fatal(err)
	}
	return names
}

// TestSandboxImageIsWanted: what the machine's containerd makes sandboxes of is never too much.
func TestSandboxImageIsWanted(t *testing.T) {
	w, m := &Worker{}, &manager{}
	if got := w.wantedImages(m); len(got) != 0 {
		t.Errorf("without containerd %q is wanted", got)
	}
	image := "registry.k8s.io/pause:3.6"
	w.sandboxImage.Store(&image)
	if got := w.wantedImages(m); !slices.Equal(got, []string{image}) {
		t.Errorf("%q is wanted", got)
	}
}
