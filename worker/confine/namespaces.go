package confine

import (
	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// namespaces are those that the pod's containers share with each other, or with the node.
func namespaces(p *corev1.Pod) *runtimev1.NamespaceOption {
	out := &runtimev1.NamespaceOption{
		Network: runtimev1.NamespaceMode_POD, Ipc: runtimev1.NamespaceMode_POD, Pid: runtimev1.NamespaceMode_CONTAINER,
	}
	if p.Spec.HostNetwork {
		out.Network = runtimev1.NamespaceMode_NODE
	}
	if p.Spec.HostIPC {
		out.Ipc = runtimev1.NamespaceMode_NODE
	}
	switch {
	case p.Spec.HostPID:
		out.Pid = runtimev1.NamespaceMode_NODE
	case isTrue(p.Spec.ShareProcessNamespace):
		out.Pid = runtimev1.NamespaceMode_POD
	}
	return out
}

// containerNamespaces are the pod's, but that an ephemeral container sees the processes of the one it looks into.
func containerNamespaces(p *corev1.Pod, target string) *runtimev1.NamespaceOption {
	out := namespaces(p)
	if target != "" && out.Pid == runtimev1.NamespaceMode_CONTAINER {
		out.Pid, out.TargetId = runtimev1.NamespaceMode_TARGET, target
	}
	return out
}
