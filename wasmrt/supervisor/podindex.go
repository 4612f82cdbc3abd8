package supervisor

import (
	"slices"
)

// labelPodUID is the label by which kubelets and Petrel's worker ask for what belongs to one pod, again and again. It has
// an index: looking through all pods for each of them would take longer the more there are, squared.
const labelPodUID = "io.kubernetes.pod.uid"

// podIndex finds sandboxes and containers by the label. Supervisor.mu guards it.
type podIndex struct {
	sandboxes  map[string][]*sandbox
	containers map[string][]*container
}

func newPodIndex() podIndex {
	return podIndex{sandboxes: map[string][]*sandbox{}, containers: map[string][]*container{}}
}

func (i *podIndex) addSandbox(b *sandbox) { add(i.sandboxes, b.podUID(), b) }

func (i *podIndex) dropSandbox(b *sandbox) { drop(i.sandboxes, b.podUID(), b) }

func (i *podIndex) addContainer(c *container) { add(i.containers, c.podUID(), c) }

func (i *podIndex) dropContainer(c *container) { drop(i.containers, c.podUID(), c) }

func (b *sandbox) podUID() string { return b.config.sandboxConfig().GetLabels()[labelPodUID] }

func (c *container) podUID() string { return c.config.containerConfig().GetLabels()[labelPodUID] }

func add[T comparable](m map[string][]T, uid string, v T) {
	if uid != "" && !slices.Contains(m[uid], v) {
		m[uid] = append(m[uid], v)
	}
}

func drop[T comparable](m map[string][]T, uid string, v T) {
	rest := slices.DeleteFunc(m[uid], func(o T) bool { return o == v })
	if len(rest) == 0 {
		delete(m, uid)
		return
	}
	m[uid] = rest
}
