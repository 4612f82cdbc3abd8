package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/utils/ptr"
)

// Pod is a pod with what the filters and scores need of it, worked out once. It never changes.
type Pod struct {
	Object   *corev1.Pod
	Requests Resources
	Ports    []hostPort
	Priority int32

	// selective tells whether the pod has any say about labels of its node.
	selective bool
	required  nodeaffinity.RequiredNodeAffinity
	preferred *nodeaffinity.PreferredSchedulingTerms
	// runtime is nil for a pod that any node can run, and until an attempt has read what it asks.
	runtime *runtimeNeed
	// volumes is nil for a pod without claims, and until an attempt has read them.
	volumes *Volumes
}

// NewPod reads a pod.
func NewPod(pod *corev1.Pod) *Pod {
	p := &Pod{Object: pod, Requests: requestsOf(pod), Ports: portsOf(pod), Priority: ptr.Deref(pod.Spec.Priority, 0)}
	if pod.Spec.NodeName != "" {
		return p // it has its node: nothing more will be asked of it
	}
	var affinity *corev1.NodeAffinity
	if pod.Spec.Affinity != nil {
		affinity = pod.Spec.Affinity.NodeAffinity
	}
	p.selective = len(pod.Spec.NodeSelector) > 0 || affinity != nil && affinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
	if p.selective {
		p.required = nodeaffinity.GetRequiredNodeAffinity(pod)
	}
	if affinity != nil && len(affinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		// The API lets no malformed term in; one that got in all the same prefers nothing.
		p.preferred, _ = nodeaffinity.NewPreferredSchedulingTerms(affinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return p
}

// UID is the identity of the pod.
func (p *Pod) UID() types.UID { return p.Object.UID }

// Key is the name of the pod.
func (p *Pod) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: p.Object.Namespace, Name: p.Object.Name}
}

// responsible tells whether a pod is for this scheduler to place.
func responsible(pod *corev1.Pod) bool {
	return pod.Spec.SchedulerName == "" || pod.Spec.SchedulerName == corev1.DefaultSchedulerName
}

// pending tells whether a pod waits for a node now.
func pending(pod *corev1.Pod) bool {
	return pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0 &&
		!finished(pod) && responsible(pod)
}

// finished tells whether a pod has ended and takes nothing of its node any more.
func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// unserved names a constraint that this scheduler does not know; empty when there is none. Such a pod is placed all
// the same, with a warning.
func unserved(pod *corev1.Pod) string {
	if a := pod.Spec.Affinity; a != nil {
		if a.PodAffinity != nil && len(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
			return "spec.affinity.podAffinity"
		}
		if a.PodAntiAffinity != nil && len(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
			return "spec.affinity.podAntiAffinity"
		}
	}
	for _, c := range pod.Spec.TopologySpreadConstraints {
		if c.WhenUnsatisfiable == corev1.DoNotSchedule {
			return "spec.topologySpreadConstraints"
		}
	}
	return ""
}

// hostPort is a port of the node's own addresses.
type hostPort struct {
	ip       string // empty for all addresses
	protocol corev1.Protocol
	port     int32
}

// portsOf lists the host ports that a pod takes. Init containers that stay take theirs too.
func portsOf(pod *corev1.Pod) []hostPort {
	var ports []hostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			h := hostPort{ip: p.HostIP, protocol: p.Protocol, port: p.HostPort}
			if h.ip == "0.0.0.0" || h.ip == "::" {
				h.ip = ""
			}
			if h.protocol == "" {
				h.protocol = corev1.ProtocolTCP
			}
			ports = append(ports, h)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		if ptr.Deref(pod.Spec.InitContainers[i].RestartPolicy, "") == corev1.ContainerRestartPolicyAlways {
			add(&pod.Spec.InitContainers[i])
		}
	}
	return ports
}

// clashes tells whether two ports cannot both be taken.
func (h hostPort) clashes(other hostPort) bool {
	return h.port == other.port && h.protocol == other.protocol &&
		(h.ip == other.ip || h.ip == "" || other.ip == "")
}
