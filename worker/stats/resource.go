package stats

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Names of /metrics/resource, as autoscalers and dashboards know them.
var (
	nodeCPU        = prometheus.NewDesc("node_cpu_usage_seconds_total", "Processor time that the node has used.", nil, nil)
	nodeMemory     = prometheus.NewDesc("node_memory_working_set_bytes", "Memory in use on the node that could not be given back at once.", nil, nil)
	containerCPU   = prometheus.NewDesc("container_cpu_usage_seconds_total", "Processor time that the container has used.", ofContainer, nil)
	containerMem   = prometheus.NewDesc("container_memory_working_set_bytes", "Memory in use by the container that could not be given back at once.", ofContainer, nil)
	containerStart = prometheus.NewDesc("container_start_time_seconds", "When the container started, in seconds of Unix time.", ofContainer, nil)
	podCPU         = prometheus.NewDesc("pod_cpu_usage_seconds_total", "Processor time that the pod's running containers have used.", ofPod, nil)
	podMemory      = prometheus.NewDesc("pod_memory_working_set_bytes", "Memory in use by the pod that could not be given back at once.", ofPod, nil)
	scrapeError    = prometheus.NewDesc("resource_scrape_error", "1 when a runtime did not tell what its containers take, else 0.", nil, nil)

	ofContainer = []string{"container", "namespace", "pod"}
	ofPod       = []string{"namespace", "pod"}
)

const nanosPerSecond = 1e9

// resource is the page /metrics/resource.
func (s *Server) resource(r *Reading, out chan<- prometheus.Metric) {
	at := r.Machine.Time
	out <- prometheus.NewMetricWithTimestamp(at, counter(nodeCPU, float64(r.Machine.CPUNanos)/nanosPerSecond))
	out <- prometheus.NewMetricWithTimestamp(at, gauge(nodeMemory, float64(r.Machine.Memory.Working)))
	for group := range podsOf(r.Containers) {
		s.resourceOf(group, out)
	}
	failed := 0.0
	if r.Failed != nil {
		failed = 1
	}
	out <- gauge(scrapeError, failed)
}

// resourceOf tells of one pod.
func (s *Server) resourceOf(group []Container, out chan<- prometheus.Metric) {
	var cpu, memory *uint64
	starts := s.cfg.Starts(group[0].Pod.UID)
	for i := range group {
		c := &group[i]
		labels := valid(c.Name, c.Pod.Namespace, c.Pod.Name)
		if c.CPUNanos != nil {
			out <- prometheus.NewMetricWithTimestamp(c.Time, counter(containerCPU, float64(*c.CPUNanos)/nanosPerSecond, labels...))
		}
		if c.Memory.Working != nil {
			out <- prometheus.NewMetricWithTimestamp(c.Time, gauge(containerMem, float64(*c.Memory.Working), labels...))
		}
		if start := starts.Containers[c.Name]; !start.IsZero() {
			out <- gauge(containerStart, float64(start.UnixNano())/nanosPerSecond, labels...)
		}
		add(&cpu, c.CPUNanos)
		add(&memory, c.Memory.Working)
	}
	labels, at := valid(group[0].Pod.Namespace, group[0].Pod.Name), group[0].Time
	if cpu != nil {
		out <- prometheus.NewMetricWithTimestamp(at, counter(podCPU, float64(*cpu)/nanosPerSecond, labels...))
	}
	if memory != nil {
		out <- prometheus.NewMetricWithTimestamp(at, gauge(podMemory, float64(*memory), labels...))
	}
}

func counter(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// valid makes labels what Prometheus takes: they come from a runtime.
func valid(labels ...string) []string {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
	}
	return labels
}
