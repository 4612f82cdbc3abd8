package worker

import (
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/eviction"
)

// kubeletMetrics are counted under the names that kubelet has for them, so that the dashboards and alerts that clusters
// have work for our nodes. What is only looked at when somebody asks is in kubeletCollector.
type kubeletMetrics struct {
	operations        *prometheus.CounterVec
	operationErrors   *prometheus.CounterVec
	operationTime     *prometheus.HistogramVec
	podStart          prometheus.Histogram
	pods              prometheus.Counter
	podErrors         prometheus.Counter
	containers        *prometheus.CounterVec
	containerErrors   *prometheus.CounterVec
	evictions         *prometheus.CounterVec
	operationsByNames map[string]string // of the CRI's methods
}

// operationBuckets and podStartBuckets are kubelet's: queries over several nodes add buckets up.
var (
	operationBuckets = prometheus.ExponentialBuckets(.005, 2.5, 14)
	podStartBuckets  = []float64{0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}
)

func newKubeletMetrics(r prometheus.Registerer) *kubeletMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_" + name, Help: help}, labels)
	}
	k := &kubeletMetrics{
		operations:      counter("runtime_operations_total", "CRI calls by operation.", "operation_type"),
		operationErrors: counter("runtime_operations_errors_total", "CRI calls that failed, by operation.", "operation_type"),
		operationTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubelet_runtime_operations_duration_seconds", Help: "Duration of CRI calls by operation.", Buckets: operationBuckets,
		}, []string{"operation_type"}),
		podStart: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubelet_pod_start_duration_seconds", Help: "Time from the pod's arrival at the node until its containers run.", Buckets: podStartBuckets,
		}),
		pods:            prometheus.NewCounter(prometheus.CounterOpts{Name: "kubelet_started_pods_total", Help: "Sandboxes that were to be run."}),
		podErrors:       prometheus.NewCounter(prometheus.CounterOpts{Name: "kubelet_started_pods_errors_total", Help: "Sandboxes that could not be run."}),
		containers:      counter("started_containers_total", "Containers that were to be started.", "container_type"),
		containerErrors: counter("started_containers_errors_total", "Containers that could not be started, by reason.", "container_type", "code"),
		evictions:       counter("evictions", "Pods that were evicted, by what was short.", "eviction_signal"),
	}
	r.MustRegister(k.operations, k.operationErrors, k.operationTime, k.podStart, k.pods, k.podErrors, k.containers, k.containerErrors, k.evictions)
	k.operationsByNames = map[string]string{}
	for _, method := range criMethods {
		k.operationsByNames[method] = operationOf(method)
	}
	return k
}

// criMethods are the calls that the worker makes.
var criMethods = []string{
	"Version", "Status", "RuntimeConfig", "UpdateRuntimeConfig", "RunPodSandbox", "StopPodSandbox", "RemovePodSandbox", "PodSandboxStatus", "ListPodSandbox",
	"CreateContainer", "StartContainer", "StopContainer", "RemoveContainer", "ListContainers", "ContainerStatus", "UpdateContainerResources",
	"ReopenContainerLog", "ExecSync", "Exec", "Attach", "PortForward", "ContainerStats", "ListContainerStats", "PodSandboxStats", "ListPodSandboxStats",
	"ListImages", "ImageStatus", "PullImage", "RemoveImage", "ImageFsInfo",
}

// operationOf is kubelet's name of a CRI method.
func operationOf(method string) string {
	var b strings.Builder
	for n, r := range method {
		if unicode.IsUpper(r) && n > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.NewReplacer("pod_sandbox", "podsandbox", "update_container_resources", "update_container").Replace(b.String())
}

func (k *kubeletMetrics) observeCall(method string, took time.Duration, err error) {
	name, ok := k.operationsByNames[method]
	if !ok {
		return // a call that kubelet has no name for
	}
	k.operations.WithLabelValues(name).Inc()
	k.operationTime.WithLabelValues(name).Observe(took.Seconds())
	if err != nil {
		k.operationErrors.WithLabelValues(name).Inc()
	}
}

func (k *kubeletMetrics) startsPod() { k.pods.Inc() }

func (k *kubeletMetrics) startsContainer(p *corev1.Pod, name string) {
	k.containers.WithLabelValues(containerType(p, name)).Inc()
}

// cannotStart counts a container that did not start for the reason that its status has.
func (k *kubeletMetrics) cannotStart(p *corev1.Pod, name, reason string) {
	k.containerErrors.WithLabelValues(containerType(p, name), reason).Inc()
}

func (k *kubeletMetrics) evicts(s eviction.Signal) { k.evictions.WithLabelValues(string(s)).Inc() }

// containerType is how kubelet calls the kinds of containers that a pod has.
func containerType(p *corev1.Pod, name string) string {
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Name == name {
			return "init_container"
		}
	}
	for i := range p.Spec.EphemeralContainers {
		if p.Spec.EphemeralContainers[i].Name == name {
			return "ephemeral_container"
		}
	}
	return "container"
}
