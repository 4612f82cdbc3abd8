package worker

import (
	"context"
	"sync/atomic"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/petrelrun/petrel/worker/pod"
)

// Reasons of events, as clients of Kubernetes know them.
const (
	eventPulling        = "Pulling"
	eventPulled         = "Pulled"
	eventCreated        = "Created"
	eventStarted        = "Started"
	eventKilling        = "Killing"
	eventBackOff        = "BackOff"
	eventUnhealthy      = "Unhealthy"
	eventFailed         = "Failed"
	eventFailedSandbox  = "FailedCreatePodSandBox"
	eventSandboxChanged = "SandboxChanged"
	eventFailedMount    = "FailedMount"
	eventFailedUnmount  = "FailedUnMount"
	eventFailedKill     = "FailedKillPod"
	eventDeadline       = "DeadlineExceeded"
	eventPostStart      = "FailedPostStartHook"
	eventPreStop        = "FailedPreStopHook"
)

// events tells the API what happened to pods.
type events struct {
	record.EventRecorder
	broadcaster record.EventBroadcaster
	normal      *rate.Limiter
	dropped     atomic.Int64
}

func newEvents(ctx context.Context, client kubernetes.Interface, node string) *events {
	e := &events{
		broadcaster: record.NewBroadcaster(record.WithContext(ctx)),
		normal:      rate.NewLimiter(normalEventsPerSecond, normalEventsBurst),
	}
	e.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	e.EventRecorder = e.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "petrel-worker", Host: node})
	return e
}

// everyday tells of what is expected, unless there is too much of it.
func (e *events) everyday(p *corev1.Pod, container, reason, format string, args ...any) {
	if !e.normal.Allow() {
		e.dropped.Add(1)
		return
	}
	e.Eventf(reference(p, container), corev1.EventTypeNormal, reason, format, args...)
}

// sometimes tells of what is amiss with many pods at a time, unless there is too much of it.
func (e *events) sometimes(p *corev1.Pod, reason, format string, args ...any) {
	if !e.normal.Allow() {
		e.dropped.Add(1)
		return
	}
	e.warn(p, "", reason, format, args...)
}

// warn tells of what went wrong.
func (e *events) warn(p *corev1.Pod, container, reason, format string, args ...any) {
	e.Eventf(reference(p, container), corev1.EventTypeWarning, reason, format, args...)
}

// reference names the pod, or a container of it.
func reference(p *corev1.Pod, container string) *corev1.ObjectReference {
	ref := &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion,
	}
	if container != "" {
		ref.FieldPath = listOf(p, container) + "{" + container + "}"
	}
	return ref
}

// listOf is the field of the pod that names the container.
func listOf(p *corev1.Pod, container string) string {
	switch _, role := pod.Find(p, container); role {
	case pod.Init, pod.Sidecar:
		return "spec.initContainers"
	case pod.Ephemeral:
		return "spec.ephemeralContainers"
	default:
		return "spec.containers"
	}
}
