package controller

import (
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/petrelrun/petrel/controlplane/api"
)

// What an App's Deployment asks of its pods.
const (
	// appReadinessPeriod: each look costs a connection. Two seconds bound how long a broken pod keeps getting requests.
	appReadinessPeriod = 2
	// appReadinessTimeout and appReadinessFailures take a pod out after some six seconds without a listener.
	appReadinessTimeout  = 1
	appReadinessFailures = 3
	// appGracePeriod is how long a pod that is being replaced may finish its requests, in seconds.
	appGracePeriod = 10
	// appHistory is how many old ReplicaSets stay; an App's history is in its Revisions.
	appHistory = 2
	// appProgressDeadline is after how long without progress a rollout counts as failed, in seconds: a pull and a
	// compilation of the largest module take a fraction of it.
	appProgressDeadline = 120
)

// appSurge lets a quarter more pods than wanted run during a rollout, at least one: none is taken down before
// another serves in its place.
var appSurge = intstr.FromString("25%")

// appMemoryRequest is what the scheduler sets aside for a pod. A limit bounds one request's instance and is no
// reservation: a pod at rest has no instance.
var appMemoryRequest = resource.MustParse("1Mi")

// setAppDeployment writes into d what the App and its active version want, and leaves the rest alone.
func setAppDeployment(d *appsv1.Deployment, app *api.App, active *api.Revision) {
	version := strconv.FormatInt(active.Spec.Version, 10)
	d.Labels = withEntries(d.Labels, map[string]string{api.LabelApp: app.Name, api.LabelVersion: version})
	replicas, deadline, history := *app.Spec.Replicas, int32(appProgressDeadline), int32(appHistory)
	d.Spec.Replicas, d.Spec.ProgressDeadlineSeconds, d.Spec.RevisionHistoryLimit = &replicas, &deadline, &history
	if d.Spec.Selector == nil { // it can never change
		d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{api.LabelApp: app.Name}}
	}
	none, surge := intstr.FromInt32(0), appSurge
	d.Spec.Strategy = appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none, MaxSurge: &surge},
	}
	setAppPods(&d.Spec.Template, app, active, version)
}

func setAppPods(t *corev1.PodTemplateSpec, app *api.App, active *api.Revision, version string) {
	t.Labels = withEntries(t.Labels, map[string]string{api.LabelApp: app.Name, api.LabelVersion: version})
	t.Annotations = withEntries(t.Annotations, appAnnotations(&active.Spec.AppTemplate))
	no, grace := false, int64(appGracePeriod)
	// A guest has no use for the API's token, nor for a variable for each Service of the namespace.
	t.Spec.AutomountServiceAccountToken, t.Spec.EnableServiceLinks = &no, &no
	t.Spec.TerminationGracePeriodSeconds = &grace
	if len(t.Spec.Containers) != 1 {
		t.Spec.Containers = make([]corev1.Container, 1)
	}
	setAppContainer(&t.Spec.Containers[0], active)
}

func setAppContainer(c *corev1.Container, active *api.Revision) {
	template := active.Spec.AppTemplate.DeepCopy()
	c.Name, c.Image, c.Args, c.Env = api.ContainerName, template.Image, template.Args, template.Env
	for _, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil && e.ValueFrom.FieldRef.APIVersion == "" {
			// What the API would fill in has to be there, or each step would find a difference.
			e.ValueFrom.FieldRef.APIVersion = "v1"
		}
	}
	c.Ports = []corev1.ContainerPort{{Name: api.PortName, ContainerPort: api.Port, Protocol: corev1.ProtocolTCP}}
	c.ReadinessProbe = nil
	if listensItself(active) {
		c.ReadinessProbe = &corev1.Probe{
			ProbeHandler:     corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString(api.PortName)}},
			PeriodSeconds:    appReadinessPeriod,
			TimeoutSeconds:   appReadinessTimeout,
			FailureThreshold: appReadinessFailures,
			SuccessThreshold: 1,
		}
	}
	c.Resources = corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: appMemoryRequest.DeepCopy()}}
	if memory := active.Spec.Limits.Memory; memory != nil {
		c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: memory.DeepCopy()}
		if memory.Cmp(appMemoryRequest) < 0 {
			c.Resources.Requests[corev1.ResourceMemory] = memory.DeepCopy()
		}
	}
}

// listensItself tells whether the guest may be what accepts connections. Where the runtime does that, it listens before
// it says that the pod runs and until it says that it ended: probing would tell nothing, and thousands of idle pods
// would be woken to be asked.
func listensItself(active *api.Revision) bool {
	switch active.Spec.HTTP {
	case "", api.HTTPAuto:
		return active.Spec.Module == nil || active.Spec.Module.Kind != api.KindReactor
	}
	return active.Spec.HTTP == api.HTTPSockets
}

// setAppService writes into s what the App wants, and leaves the rest (its address above all) alone.
func setAppService(s *corev1.Service, app *api.App) {
	s.Labels = withEntries(s.Labels, map[string]string{api.LabelApp: app.Name})
	s.Spec.Type = corev1.ServiceTypeClusterIP
	s.Spec.Selector = map[string]string{api.LabelApp: app.Name}
	s.Spec.Ports = []corev1.ServicePort{{
		Name: api.PortName, Protocol: corev1.ProtocolTCP, Port: api.Port, TargetPort: intstr.FromString(api.PortName),
	}}
}

// withEntries answers m with the entries set; an empty value removes one.
func withEntries(m, entries map[string]string) map[string]string {
	out := make(map[string]string, len(m)+len(entries))
	maps.Copy(out, m)
	for k, v := range entries {
		if v == "" {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
