package staticpods

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// The API's defaults, of which nothing else gives them to a pod that did not pass through it.
const (
	defaultGrace     = 30
	defaultPeriod    = 10
	defaultTimeout   = 1
	defaultSuccesses = 1
	defaultFailures  = 3
	defaultLog       = "/dev/termination-log"
)

func defaults(spec *corev1.PodSpec) {
	or(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	or(&spec.DNSPolicy, corev1.DNSClusterFirst)
	or(&spec.SchedulerName, corev1.DefaultSchedulerName)
	if spec.TerminationGracePeriodSeconds == nil {
		spec.TerminationGracePeriodSeconds = ptr.To[int64](defaultGrace)
	}
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	if spec.EnableServiceLinks == nil {
		spec.EnableServiceLinks = ptr.To(true)
	}
	for _, all := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range all {
			containerDefaults(&all[i], spec.HostNetwork)
		}
	}
	for i := range spec.Volumes {
		if spec.Volumes[i].VolumeSource == (corev1.VolumeSource{}) {
			spec.Volumes[i].EmptyDir = &corev1.EmptyDirVolumeSource{}
		}
	}
	// What happens on the node does not drive a pod away that belongs to it.
	spec.Tolerations = append(spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
}

func containerDefaults(c *corev1.Container, hostNetwork bool) {
	or(&c.TerminationMessagePath, defaultLog)
	or(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	policy := corev1.PullIfNotPresent
	if name := c.Image[strings.LastIndex(c.Image, "/")+1:]; !strings.ContainsAny(name, ":@") || strings.HasSuffix(name, ":latest") {
		policy = corev1.PullAlways
	}
	or(&c.ImagePullPolicy, policy)
	for i := range c.Ports {
		or(&c.Ports[i].Protocol, corev1.ProtocolTCP)
		if hostNetwork {
			or(&c.Ports[i].HostPort, c.Ports[i].ContainerPort)
		}
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			or(&from.FieldRef.APIVersion, "v1")
		}
	}
	for name, limit := range c.Resources.Limits { // a limit alone is a request too
		if _, asked := c.Resources.Requests[name]; !asked {
			if c.Resources.Requests == nil {
				c.Resources.Requests = corev1.ResourceList{}
			}
			c.Resources.Requests[name] = limit
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		probeDefaults(p)
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil && h.HTTPGet != nil {
				httpDefaults(h.HTTPGet)
			}
		}
	}
}

func probeDefaults(p *corev1.Probe) {
	if p == nil {
		return
	}
	or(&p.TimeoutSeconds, defaultTimeout)
	or(&p.PeriodSeconds, defaultPeriod)
	or(&p.SuccessThreshold, defaultSuccesses)
	or(&p.FailureThreshold, defaultFailures)
	if p.HTTPGet != nil {
		httpDefaults(p.HTTPGet)
	}
	if p.GRPC != nil && p.GRPC.Service == nil {
		p.GRPC.Service = ptr.To("")
	}
}

func httpDefaults(a *corev1.HTTPGetAction) {
	or(&a.Path, "/")
	or(&a.Scheme, corev1.URISchemeHTTP)
}

// or sets what is not set.
func or[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}
