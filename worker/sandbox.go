package worker

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/runtimes"
)

// runSandbox gives the pod its addresses and what holds them.
func (a *actor) runSandbox(ctx context.Context, step pod.Step) error {
	if !a.takeHostPorts() {
		return nil
	}
	if decided, err := a.decideKinds(ctx); !decided || err != nil {
		return err
	}
	if a.refuseSysctls() {
		return nil
	}
	release, err := slot(ctx, a.m.starts)
	if err != nil {
		return err
	}
	defer release()
	ips, ok, err := a.addresses(ctx)
	if !ok || err != nil {
		return err
	}
	if step.Attempt > 0 {
		a.m.events.everyday(a.view.Pod, "", eventSandboxChanged, "Pod sandbox changed, it will be killed and re-created.")
	}
	config, err := a.sandboxConfig(step.Attempt, strings.Join(ips, ","))
	if err == nil {
		err = a.makeGroup()
	}
	if err != nil {
		a.holdBack(runtimeRetryMax, eventFailedSandbox, err)
		return nil
	}
	problems, err := a.m.naming.fill(ctx, config, a.view.Pod, a.kinds.pod() == runtimes.KindWasm)
	if err != nil {
		return err
	}
	for _, problem := range problems {
		a.m.events.sometimes(a.view.Pod, eventDNS, "%s", problem)
	}
	a.m.metrics.kubelet.startsPod()
	id, err := a.m.rt.RunPodSandbox(ctx, config, a.kinds.Handler)
	if err != nil {
		a.suspectLater() // it may have been made all the same
		if cri.IsUnavailable(err) {
			return err
		}
		a.m.metrics.kubelet.podErrors.Inc()
		a.holdBack(a.nextRetry(), eventFailedSandbox, err)
		return a.look(ctx)
	}
	a.retry = 0
	a.view.Why, a.view.RetryAt = pod.Why{}, time.Time{}
	a.view.Sandboxes = append(a.view.Sandboxes, pod.Sandbox{ID: id, Attempt: uint32(step.Attempt), Ready: true, IP: ips[0], IPs: ips})
	a.view.Sort()
	a.openHostPorts()
	return nil
}

// onHost reports whether the pod is on the machine's own network. Wasm pods have addresses of their own all the same: a
// guest listens where it is told to.
func (a *actor) onHost() bool {
	return a.view.Pod.Spec.HostNetwork && a.kinds.pod() != runtimes.KindWasm
}

// addresses are the pod's, one of each family, guarded by its policies; false when it has to wait for them.
func (a *actor) addresses(ctx context.Context) (out []string, ok bool, err error) {
	if a.onHost() {
		for _, ip := range a.m.cfg.NodeIPs {
			out = append(out, ip.String())
		}
		return out, true, nil
	}
	if a.kinds.pod() != runtimes.KindWasm && a.m.cfg.CNISocket == "" {
		a.holdBack(runtimeRetryMax, eventFailedSandbox, errNoContainerNetwork)
		return nil, false, nil
	}
	ips, err := a.m.pool.Take(string(a.uid))
	if err != nil {
		a.holdBack(runtimeRetryMax, eventFailedSandbox, err)
		return nil, false, nil
	}
	for _, ip := range ips {
		a.m.arrive(ip)
		out = append(out, ip.String())
	}
	if err := a.m.guard.assign(ctx, a.view.Pod, ips); err != nil {
		if a.m.ctx.Err() != nil {
			return nil, false, err
		}
		a.holdBack(policyRetry, eventFailedSandbox, err)
		return nil, false, nil
	}
	return out, true, nil
}

// ownAnnotations are the worker's word to the runtime. What a pod itself says there counts for nothing: it could name
// another's network, or any file of the machine.
var ownAnnotations = map[string]bool{
	annotationPodIP: true, annotationDomain: true, annotationNetworks: true, runtimes.AnnotationKind: true, runtimes.AnnotationNetns: true,
	annotationPrefix + "module-file": true,
}

// sandboxConfig is the pod as the runtime is told of it.
func (a *actor) sandboxConfig(attempt int32, ip string) (*runtimev1.PodSandboxConfig, error) {
	config := sandboxConfig(a.view.Pod, attempt, ip, a.m.paths.logs(a.view.Pod))
	kind := a.kinds.pod()
	config.Annotations[runtimes.AnnotationKind] = string(kind)
	if kind == runtimes.KindWasm {
		return config, nil
	}
	if a.view.Pod.Spec.HostNetwork {
		config.Hostname = "" // the machine's own
	}
	return config, a.confineSandbox(config.GetLinux())
}

func sandboxConfig(p *corev1.Pod, attempt int32, ip, logDir string) *runtimev1.PodSandboxConfig {
	config := &runtimev1.PodSandboxConfig{
		Metadata:     &runtimev1.PodSandboxMetadata{Name: p.Name, Namespace: p.Namespace, Uid: string(p.UID), Attempt: uint32(attempt)},
		Hostname:     hostname(p),
		LogDirectory: logDir,
		Labels:       podLabels(p),
		Annotations:  map[string]string{},
		Linux:        &runtimev1.LinuxPodSandboxConfig{},
	}
	for key, value := range p.Annotations {
		if strings.HasPrefix(key, annotationPrefix) && !ownAnnotations[key] {
			config.Annotations[key] = value
		}
	}
	if ip != "" {
		config.Annotations[annotationPodIP] = ip
	}
	for i := range p.Spec.Containers {
		for _, port := range p.Spec.Containers[i].Ports {
			config.PortMappings = append(config.PortMappings, &runtimev1.PortMapping{
				Protocol: protocol(port.Protocol), ContainerPort: port.ContainerPort, HostPort: port.HostPort, HostIp: port.HostIP,
			})
		}
	}
	return config
}
