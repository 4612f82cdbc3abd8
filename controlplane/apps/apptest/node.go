package apptest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
)

// ColdStart is what the pods' annotation of that name says.
const ColdStart = `{"compileMicros":150000,"snapshotMicros":3000,"cloneP50Micros":180,"cloneP99Micros":290,"firstRequestMicros":250,"abi":"petrel-http-v1","snapshot":"yes"}`

// Behaviour is what becomes of the pods of an image.
type Behaviour int

// The behaviours.
const (
	Serves        Behaviour = iota // bound, running, ready
	Crashes                        // bound, started, ended, waiting to start again
	NoImage                        // bound, its image cannot be pulled
	Unschedulable                  // no node takes it
	Hangs                          // bound, running, never ready
)

// Node plays the Deployment controller, the scheduler and the worker at once: it gives each Deployment the pods that
// it wants. A new template's pods come first and the old ones go only when as many of the new ones serve.
type Node struct {
	Store *Store
	// ColdStart and Compile are what the pods' annotations say, in microseconds.
	ColdStart, Compile int64

	mu    sync.Mutex
	names int
	of    func(image string) Behaviour
}

// SetOf sets how the pods of an image behave from now on; without, and with nil, they serve.
func (n *Node) SetOf(of func(image string) Behaviour) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.of = of
}

func (n *Node) behaviour(image string) Behaviour {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		return Serves
	}
	return n.of(image)
}

// tick is how often the Node looks at its Deployments.
const tick = 2 * time.Millisecond

// Run plays until ctx ends.
func (n *Node) Run(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, d := range All[*appsv1.Deployment](n.Store) {
				n.step(ctx, d)
			}
		}
	}
}

// All lists the objects of a type.
func All[T api.Object](s *Store) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []T
	for _, obj := range s.objects {
		if typed, ok := obj.(T); ok {
			out = append(out, clone(typed).(T))
		}
	}
	return out
}

func (n *Node) step(ctx context.Context, d *appsv1.Deployment) {
	var current, old []*corev1.Pod
	for _, pod := range All[*corev1.Pod](n.Store) {
		if !metav1.IsControlledBy(pod, d) {
			continue
		}
		if pod.Labels[api.LabelVersion] == d.Spec.Template.Labels[api.LabelVersion] {
			current = append(current, pod)
		} else {
			old = append(old, pod)
		}
	}
	want := int(*d.Spec.Replicas)
	for i := len(current); i < want; i++ {
		current = append(current, n.start(ctx, d))
	}
	for len(current) > want {
		n.drop(ctx, current[len(current)-1])
		current = current[:len(current)-1]
	}
	ready := 0
	for _, pod := range current {
		if pod != nil && n.live(ctx, pod) {
			ready++
		}
	}
	if ready == want {
		for _, pod := range old {
			n.drop(ctx, pod)
		}
		old = nil
	}
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation,
		Replicas:           int32(len(current) + len(old)), UpdatedReplicas: int32(len(current)),
		ReadyReplicas: int32(ready + len(old)), AvailableReplicas: int32(ready + len(old)),
	}
	n.write(ctx, d)
}

func (n *Node) start(ctx context.Context, d *appsv1.Deployment) *corev1.Pod {
	n.mu.Lock()
	n.names++
	name := fmt.Sprintf("%s-%04d", d.Name, n.names)
	n.mu.Unlock()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Namespace, Name: name,
			Labels: d.Spec.Template.Labels, Annotations: d.Spec.Template.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: d.Spec.Template.Spec,
	}
	created, err := n.Store.Create(ctx, pod)
	if err != nil {
		return nil // the Deployment went meanwhile
	}
	return created.(*corev1.Pod)
}

// live gives a pod the status of its behaviour and tells whether it serves.
func (n *Node) live(ctx context.Context, pod *corev1.Pod) bool {
	behaviour := n.behaviour(pod.Spec.Containers[0].Image)
	if behaviour == Unschedulable {
		pod.Status.Phase = corev1.PodPending
		pod.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
			Message: "0/1 nodes are available: 1 node is unschedulable",
		}}
		n.write(ctx, pod)
		return false
	}
	if pod.Spec.NodeName == "" {
		pod.Spec.NodeName = "node-1"
		updated, err := n.Store.Update(ctx, pod)
		if err != nil {
			return false
		}
		pod = updated.(*corev1.Pod)
	}
	setStatus(pod, behaviour)
	if behaviour == Serves {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[api.AnnotationColdStartMicros] = strconv.FormatInt(n.ColdStart, 10)
		pod.Annotations[api.AnnotationCompileMicros] = strconv.FormatInt(n.Compile, 10)
		pod.Annotations[api.AnnotationCompileCached] = "false"
		pod.Annotations[api.AnnotationColdStart] = ColdStart
	}
	n.write(ctx, pod)
	return behaviour == Serves
}

func setStatus(pod *corev1.Pod, behaviour Behaviour) {
	status := corev1.ContainerStatus{Name: pod.Spec.Containers[0].Name, Image: pod.Spec.Containers[0].Image}
	ready := corev1.ConditionFalse
	pod.Status.Phase = corev1.PodRunning
	switch behaviour {
	case Serves, Hangs:
		status.State.Running = &corev1.ContainerStateRunning{}
		status.Ready = behaviour == Serves
		if status.Ready {
			ready = corev1.ConditionTrue
		}
	case Crashes:
		status.RestartCount = 2
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 10s restarting failed container"}
		status.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 2, Reason: "Error"}
	case NoImage:
		pod.Status.Phase = corev1.PodPending
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "manifest unknown"}
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{status}
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
		{Type: corev1.PodReady, Status: ready},
	}
}

func (n *Node) drop(ctx context.Context, pod *corev1.Pod) {
	if pod == nil {
		return
	}
	if err := n.Store.Delete(ctx, pod, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		panic(err)
	}
}

// write ignores a lost race: the next tick sees what happened.
func (n *Node) write(ctx context.Context, obj api.Object) {
	_, err := n.Store.UpdateStatus(ctx, obj)
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		panic(err)
	}
}
