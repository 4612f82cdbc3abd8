package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/petrelrun/petrel/worker/cri"
)

// metrics are the worker's own, in a registry of their own: two workers of one process do not clash.
type metrics struct {
	registry       *prometheus.Registry
	startLatency   prometheus.Histogram
	runtimeCalls   *prometheus.HistogramVec
	restarts       prometheus.Counter
	statusWrites   prometheus.Counter
	statusFailures prometheus.Counter
	kubelet        *kubeletMetrics
}

// startBuckets reach from a warm Wasm pod to a cold pull; callBuckets from a listing to a compile.
var (
	startBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}
	callBuckets  = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30}
)

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		startLatency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "petrel_worker_pod_start_seconds", Help: "Time from the pod's arrival at the worker until its containers run.", Buckets: startBuckets,
		}),
		runtimeCalls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "petrel_worker_runtime_call_seconds", Help: "Duration of CRI calls by method and gRPC code.", Buckets: callBuckets,
		}, []string{"method", "code"}),
		restarts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "petrel_worker_container_restarts_total", Help: "Containers that were started again.",
		}),
		statusWrites: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "petrel_worker_status_writes_total", Help: "Pod statuses that the API took.",
		}),
		statusFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "petrel_worker_status_failures_total", Help: "Pod statuses that the API did not take at first.",
		}),
	}
	m.registry.MustRegister(m.startLatency, m.runtimeCalls, m.restarts, m.statusWrites, m.statusFailures,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.kubelet = newKubeletMetrics(m.registry)
	return m
}

func (m *metrics) observeCall(method string, took time.Duration, err error) {
	m.runtimeCalls.WithLabelValues(method, cri.Code(err).String()).Observe(took.Seconds())
	m.kubelet.observeCall(method, took, err)
}

// podsCollector counts pods by phase when it is asked.
type podsCollector struct {
	desc    *prometheus.Desc
	dropped *prometheus.Desc
	m       *manager
}

func newPodsCollector(m *manager) *podsCollector {
	return &podsCollector{
		desc:    prometheus.NewDesc("petrel_worker_pods", "Pods of the node by phase.", []string{"phase"}, nil),
		dropped: prometheus.NewDesc("petrel_worker_events_dropped_total", "Events of everyday life that were not sent.", nil, nil),
		m:       m,
	}
}

// Describe implements prometheus.Collector.
func (c *podsCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.desc
	out <- c.dropped
}

// Collect implements prometheus.Collector.
func (c *podsCollector) Collect(out chan<- prometheus.Metric) {
	for phase, n := range c.m.phases() {
		out <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), string(phase))
	}
	out <- prometheus.MustNewConstMetric(c.dropped, prometheus.CounterValue, float64(c.m.events.dropped.Load()))
}
