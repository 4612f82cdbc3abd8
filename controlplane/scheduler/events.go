package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/cache"
)

// object unwraps what a delete event carries.
func object[T any](obj any) (T, bool) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	o, ok := obj.(T)
	return o, ok
}

func (s *Scheduler) nodeHandler() cache.ResourceEventHandler {
	set := func(obj any) {
		if node, ok := object[*corev1.Node](obj); ok {
			s.setNode(node)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, obj any) { set(obj) },
		DeleteFunc: func(obj any) {
			if node, ok := object[*corev1.Node](obj); ok {
				s.mu.Lock()
				s.cluster.RemoveNode(node.Name)
				s.mu.Unlock()
			}
		},
	}
}

// setNode takes in a node, and has those pods tried again that fit it now.
func (s *Scheduler) setNode(node *corev1.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, changed := s.cluster.SetNode(node); changed {
		s.freed(n)
	}
}

// freed has the parked pods tried again that fit a node now. The caller holds the lock.
func (s *Scheduler) freed(n *Node) {
	if n == nil {
		return
	}
	if s.queue.Wake(func(p *Pod) bool { return fits(p, n) }, s.cfg.Clock.Now()) > 0 {
		s.poke()
	}
}

func (s *Scheduler) podHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if pod, ok := object[*corev1.Pod](obj); ok {
				s.setPod(nil, pod)
			}
		},
		UpdateFunc: func(old, obj any) {
			before, _ := object[*corev1.Pod](old)
			pod, ok := object[*corev1.Pod](obj)
			if !ok {
				return
			}
			if before != nil && before.UID != pod.UID {
				s.removePod(before) // one went and another of that name came
				before = nil
			}
			s.setPod(before, pod)
		},
		DeleteFunc: func(obj any) {
			if pod, ok := object[*corev1.Pod](obj); ok {
				s.removePod(pod)
			}
		},
	}
}

// setPod takes in a pod's state.
func (s *Scheduler) setPod(before, pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case finished(pod):
		s.queue.Delete(pod.UID)
		s.freed(s.cluster.RemovePod(pod.UID))
	case pod.Spec.NodeName != "":
		s.queue.Delete(pod.UID)
		s.cluster.SetPod(pod)
	case pending(pod):
		if s.cluster.Assumed(pod.UID) {
			return // its bind is under way, or done and not in the cache yet
		}
		retry := before != nil && !equality.Semantic.DeepEqual(before.Spec, pod.Spec)
		s.queue.Put(NewPod(pod), retry, s.cfg.Clock.Now())
		s.poke()
	default:
		s.queue.Delete(pod.UID)
	}
}

// removePod takes in that a pod is gone.
func (s *Scheduler) removePod(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue.Delete(pod.UID)
	s.freed(s.cluster.RemovePod(pod.UID))
}
