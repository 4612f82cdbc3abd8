package scheduler

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
)

var runtimeClassesResource = nodev1.SchemeGroupVersion.WithResource("runtimeclasses")

// runtimeNeed is what a pod asks of its node to be run at all, read at the time of an attempt. It never changes.
type runtimeNeed struct {
	// hopeless is why no node will do; empty when some may.
	hopeless string
	// handler is what the node must have. That of containers for whom no class names one has no name.
	handler string
}

// runtimeOf reads what a pod asks; nil when any node will do. containers tells whether some node runs containers.
//
// What an image holds is known when it is pulled, not before, so that a pod without a class may be either: those of the
// cluster's own registry are Wasm modules, and others are sent where both can be run, while there is such a node.
func runtimeOf(pod *corev1.Pod, classes cache.Indexer, containers func() bool) *runtimeNeed {
	if name := pod.Spec.RuntimeClassName; name != nil && *name != "" {
		class, ok := get[*nodev1.RuntimeClass](classes, *name)
		if !ok {
			return &runtimeNeed{hopeless: fmt.Sprintf("RuntimeClass %q not found", *name)}
		}
		return &runtimeNeed{handler: class.Handler}
	}
	if modulesAlone(pod) || !containers() {
		return nil
	}
	return &runtimeNeed{}
}

// modulesAlone tells whether all images of a pod are of the cluster's own registry.
func modulesAlone(pod *corev1.Pod) bool {
	for _, all := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		if slices.ContainsFunc(all, func(c corev1.Container) bool { return !strings.HasPrefix(c.Image, api.RegistryHost+"/") }) {
			return false
		}
	}
	return true
}

// filterRuntime objects to nodes that have nothing to run the pod with. A node that does not tell what it has is taken
// to have it.
func filterRuntime(p *Pod, n *Node, reasons []string) []string {
	need := p.runtime
	switch {
	case need == nil:
		return reasons
	case need.hopeless != "":
		return append(reasons, need.hopeless)
	case len(n.Object.Status.RuntimeHandlers) > 0 && !n.handles(need.handler):
		if need.handler == "" {
			return append(reasons, "node(s) ran no containers")
		}
		return append(reasons, fmt.Sprintf("node(s) didn't have the runtime handler %q", need.handler))
	}
	return reasons
}

// handles tells whether the node has a runtime handler; the one without a name runs containers whose pod names none.
func (n *Node) handles(handler string) bool {
	return slices.ContainsFunc(n.Object.Status.RuntimeHandlers, func(h corev1.NodeRuntimeHandler) bool { return h.Name == handler })
}

// sameHandlers tells whether two states of a node have the same runtime handlers.
func sameHandlers(a, b *corev1.Node) bool {
	return slices.EqualFunc(a.Status.RuntimeHandlers, b.Status.RuntimeHandlers, func(x, y corev1.NodeRuntimeHandler) bool { return x.Name == y.Name })
}

// labelRunsContainers says of a node that it is to run containers, also while its containerd is not there: one that has just
// been started again does not tell its handlers yet, and comes to have them soon.
const labelRunsContainers = "petrel.run/runtime-containerd"

// runContainers tells whether some node does, or is to.
func (s *Snapshot) runContainers() bool {
	return slices.ContainsFunc(s.Nodes, func(n *Node) bool {
		return n.handles("") || n.Object.Labels[labelRunsContainers] == "true"
	})
}

// withRuntime is the pod with what it asks of its node's runtimes.
func (s *Scheduler) withRuntime(p *Pod, snapshot *Snapshot) *Pod {
	need := runtimeOf(p.Object, s.runtimeClasses, snapshot.runContainers)
	if need == nil && p.runtime == nil {
		return p
	}
	with := *p
	with.runtime = need
	return &with
}

// classHandler has pods tried again that wait for a RuntimeClass.
func (s *Scheduler) classHandler() cache.ResourceEventHandler {
	wake := func(obj any) {
		class, ok := obj.(*nodev1.RuntimeClass)
		if !ok {
			return
		}
		names := func(p *Pod) bool {
			name := p.Object.Spec.RuntimeClassName
			return name != nil && *name == class.Name
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queue.Mark(names)
		if s.queue.Wake(names, s.cfg.Clock.Now()) > 0 {
			s.poke()
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: wake} // a handler never changes, and pods have the rest of the class themselves
}
