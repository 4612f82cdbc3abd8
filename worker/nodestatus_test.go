package worker

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestNodeTellsItsImages has the images of the runtime on the Node, and its events among those that kubectl looks for.
func TestNodeTellsItsImages(t *testing.T) {
	n := newTestNode(t)
	// Before the restart: what the first worker has told of conditions the second one has no reason to tell again.
	for _, reason := range []string{"Starting", "NodeReady", "NodeHasSufficientMemory"} {
		if e := n.event("node-1", reason); e.InvolvedObject.Kind != "Node" || e.InvolvedObject.UID != "node-1" || e.Type != corev1.EventTypeNormal || e.Source.Host != "node-1" {
			t.Errorf("event %+v", e)
		}
	}
	n.runtime.SetImageSize("idle", 12345)
	n.create(testPod("a", "idle"))
	n.ready("a")
	n.restart() // what was said of images before counts for a while
	n.eventually("the Node to tell of the image", func() bool {
		node, err := n.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
		return err == nil && slices.ContainsFunc(node.Status.Images, func(i corev1.ContainerImage) bool {
			return i.SizeBytes == 12345 && slices.ContainsFunc(i.Names, func(name string) bool { return name != "" })
		})
	})
}
