package worker

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/confine"
	"github.com/petrelrun/petrel/worker/env"
	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/volume"
)

// Labels and annotations by which sandboxes and containers are found again.
const (
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelContainerName = "io.kubernetes.container.name"

	annotationRestartCount = "io.kubernetes.container.restartCount"
	annotationHash         = "io.kubernetes.container.hash"
	// annotationPorts tells which of the sandbox's ports are the container's.
	annotationPorts = "io.kubernetes.container.ports"

	// annotationPrefix marks what of a pod's annotations the runtime is told.
	annotationPrefix = "petrel.run/"
	// annotationPodIP tells the runtime the sandbox's address.
	annotationPodIP = "petrel.run/pod-ip"
)

// maxHostname is the kernel's limit.
const maxHostname = 63

func hostname(p *corev1.Pod) string {
	name := p.Spec.Hostname
	if name == "" {
		name = p.Name
	}
	return strings.TrimRight(name[:min(len(name), maxHostname)], "-.")
}

func podLabels(p *corev1.Pod) map[string]string {
	labels := make(map[string]string, len(p.Labels)+3)
	maps.Copy(labels, p.Labels)
	labels[labelPodName], labels[labelPodNamespace], labels[labelPodUID] = p.Name, p.Namespace, string(p.UID)
	return labels
}

func protocol(p corev1.Protocol) runtimev1.Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return runtimev1.Protocol_UDP
	case corev1.ProtocolSCTP:
		return runtimev1.Protocol_SCTP
	default:
		return runtimev1.Protocol_TCP
	}
}

// containerConfig is one attempt at a container as the runtime is told of it.
func containerConfig(p *corev1.Pod, c *corev1.Container, attempt int32, vars []env.Var, mounts []volume.Mount) *runtimev1.ContainerConfig {
	config := &runtimev1.ContainerConfig{
		Metadata:   &runtimev1.ContainerMetadata{Name: c.Name, Attempt: uint32(attempt)},
		Image:      &runtimev1.ImageSpec{Image: c.Image, UserSpecifiedImage: c.Image},
		Command:    env.Strings(c.Command, vars),
		Args:       env.Strings(c.Args, vars),
		WorkingDir: c.WorkingDir,
		Labels: map[string]string{
			labelPodName: p.Name, labelPodNamespace: p.Namespace, labelPodUID: string(p.UID), labelContainerName: c.Name,
		},
		Annotations: map[string]string{
			annotationRestartCount: strconv.Itoa(int(attempt)), annotationHash: pod.SpecHash(c),
		},
		LogPath: logName(c.Name, attempt),
		Stdin:   c.Stdin, StdinOnce: c.StdinOnce, Tty: c.TTY,
		Linux: &runtimev1.LinuxContainerConfig{Resources: confine.ContainerLimits(p, c), SecurityContext: &runtimev1.LinuxContainerSecurityContext{}},
	}
	if ports := containerPorts(c); ports != "" {
		config.Annotations[annotationPorts] = ports
	}
	for _, v := range vars {
		config.Envs = append(config.Envs, &runtimev1.KeyValue{Key: v.Name, Value: []byte(v.Value)})
	}
	for _, m := range mounts {
		config.Mounts = append(config.Mounts, &runtimev1.Mount{
			ContainerPath: m.ContainerPath, HostPath: m.HostPath, Readonly: m.ReadOnly, Propagation: propagation(m.Propagation),
		})
	}
	return config
}

// propagation says whether mounts that are made below one show on its other side.
func propagation(mode corev1.MountPropagationMode) runtimev1.MountPropagation {
	switch mode {
	case corev1.MountPropagationHostToContainer:
		return runtimev1.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	case corev1.MountPropagationBidirectional:
		return runtimev1.MountPropagation_PROPAGATION_BIDIRECTIONAL
	default:
		return runtimev1.MountPropagation_PROPAGATION_PRIVATE
	}
}

// containerPorts are the ports that the container names, as JSON; empty for none.
func containerPorts(c *corev1.Container) string {
	if len(c.Ports) == 0 {
		return ""
	}
	raw, err := json.Marshal(c.Ports)
	if err != nil { // plain structs always marshal
		return ""
	}
	return string(raw)
}
