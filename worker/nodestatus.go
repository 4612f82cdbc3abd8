package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// imagesFor is how long what runtimes say of their images counts: the node's status is looked at far more often.
const imagesFor = 30 * time.Second

// imageList is what the node tells of its images.
type imageList struct {
	mu    sync.Mutex
	known []corev1.ContainerImage
	asked time.Time
}

// nodeImages are the images of all runtimes; nil as long as one of them does not say.
func (w *Worker) nodeImages(ctx context.Context) []corev1.ContainerImage {
	l := &w.images
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known != nil && time.Since(l.asked) < imagesFor {
		return l.known
	}
	out := []corev1.ContainerImage{}
	for name, rt := range w.imageRuntimes() {
		images, err := rt.ListImages(ctx)
		if err != nil {
			w.cfg.Logger.Debug("runtime did not list its images", "runtime", name, "error", err)
			return l.known
		}
		for _, i := range images {
			out = append(out, corev1.ContainerImage{Names: slices.Concat(i.GetRepoDigests(), i.GetRepoTags()), SizeBytes: int64(i.GetSize())})
		}
	}
	l.known, l.asked = out, time.Now()
	return out
}

// Reasons of events of the node itself, as a kubelet gives them.
const (
	eventStarting = "Starting"
	eventEviction = "EvictionThresholdMet"
)

// nodeChanged tells of a change of the node's conditions. Kubelet's events of this kind are all of type Normal.
func (e *events) nodeChanged(node, reason string) {
	e.Eventf(nodeReference(node), corev1.EventTypeNormal, reason, "Node %s status is now: %s", node, reason)
}

func (e *events) nodeStarts(node string) {
	e.Event(nodeReference(node), corev1.EventTypeNormal, eventStarting, "Starting the node's worker.")
}

func (e *events) nodeReclaims(node, resource string) {
	e.Eventf(nodeReference(node), corev1.EventTypeWarning, eventEviction, "Attempting to reclaim %s", resource)
}

// nodeReference names the Node as a kubelet does, which has its name for a UID: kubectl looks for such events.
func nodeReference(name string) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: name, UID: types.UID(name)}
}
