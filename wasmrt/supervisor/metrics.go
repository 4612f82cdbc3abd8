package supervisor

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// ofContainer are the labels of what is told of a container.
var ofContainer = []string{"namespace", "pod", "container"}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("petrel_wasmrt_"+name, help, labels, nil)
}

func describeContainer(name, help string, labels ...string) *prometheus.Desc {
	return describe(name, help, append(slices.Clone(ofContainer), labels...)...)
}

// Metrics of namespaces.
var (
	metricContainers   = describe("containers", "Containers, by state.", "namespace", "state")
	metricResident     = describe("runner_resident_bytes", "Resident memory of a namespace's runner.", "namespace")
	metricGroupMemory  = describe("runner_group_memory_bytes", "Memory charged to the runner's control group, page cache too.", "namespace")
	metricRunnerCPU    = describe("runner_cpu_seconds_total", "Processor time of the runner's process.", "namespace")
	metricConfinement  = describe("confinement", "Whether a measure holds for the runners (1) or the host lacks it (0).", "measure")
	metricUnreachable  = describe("runner_unreachable", "Runners that did not answer this scrape.", "namespace")
	namespaceMetrics   = []*prometheus.Desc{metricContainers, metricResident, metricGroupMemory, metricRunnerCPU, metricConfinement, metricUnreachable}
	containerMetricSet = []*prometheus.Desc{metricRequests, metricFailures, metricInFlight, metricSeconds, metricInstances, metricInstanceTime,
		metricDiscards, metricAlive, metricMemory, metricFuel, metricCPU, metricDropped}
)

// Metrics of containers that were ever asked anything. Others have none: a node holds thousands of them.
var (
	metricRequests     = describeContainer("requests_total", "Requests that an HTTP guest was asked.")
	metricFailures     = describeContainer("guest_failures_total", "Guests that ended without an answer, by cause.", "code")
	metricInFlight     = describeContainer("requests_in_flight", "Requests in the guest now; of a running command 1.")
	metricSeconds      = describeContainer("request_seconds_total", "Wall time of requests, or of the command.")
	metricInstances    = describeContainer("instances_total", "How requests got their instances: by clone, reset, fresh or reuse.", "how")
	metricInstanceTime = describeContainer("instance_seconds_total", "Time by kind: clone, reset, guest (in calls), fallback (instances started from nothing).", "kind")
	metricDiscards     = describeContainer("instance_discards_total", "Instances that were not kept, by cause.", "cause")
	metricAlive        = describeContainer("instances", "Instances there are, by state.", "state")
	metricMemory       = describeContainer("resident_bytes", "Private memory of the guest's instances.")
	metricFuel         = describeContainer("fuel_total", "Instructions that the guest executed, as fuel counts them.")
	metricCPU          = describeContainer("cpu_seconds_total", "Processor time of the guest.")
	metricDropped      = describeContainer("log_dropped_total", "Log records that could not be written.")
)

// Metrics answers what Prometheus collects. A scrape asks each runner once.
func (s *Supervisor) Metrics() prometheus.Collector { return collector{s} }

type collector struct{ s *Supervisor }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range slices.Concat(namespaceMetrics, containerMetricSet) {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), settle)
	defer cancel()
	byID := map[string]control.ContainerStats{}
	for _, r := range c.s.fleet.All() {
		gauge(ch, metricGroupMemory, float64(r.MemoryBytes()), r.Namespace())
		var process control.ProcessStats
		err := r.Call(ctx, control.MethodPing, nil, &process)
		if err == nil {
			gauge(ch, metricResident, float64(process.ResidentBytes), r.Namespace())
			counter(ch, metricRunnerCPU, float64(process.CPUNanos)/1e9, r.Namespace())
			err = collectStats(ctx, r, true, byID)
		}
		gauge(ch, metricUnreachable, boolean(err != nil), r.Namespace())
	}
	for measure, state := range c.s.confined.report {
		gauge(ch, metricConfinement, boolean(strings.HasPrefix(state, "on")), measure)
	}
	c.containers(ch, byID)
}

// containers tells of all containers together, and of those that were used one by one.
func (c collector) containers(ch chan<- prometheus.Metric, byID map[string]control.ContainerStats) {
	type key struct{ namespace, state string }
	counts := map[key]int{}
	type used struct {
		labels []string
		stats  control.ContainerStats
	}
	var list []used
	c.s.mu.RLock()
	for id, o := range c.s.containers {
		counts[key{o.sandbox.record.Namespace, string(o.record.Status.State)}]++
		if stats, ok := byID[id]; ok {
			list = append(list, used{[]string{o.sandbox.record.Namespace, o.sandbox.config.sandboxConfig().GetMetadata().GetName(),
				o.config.containerConfig().GetMetadata().GetName()}, stats})
		}
	}
	c.s.mu.RUnlock()
	for k, n := range counts {
		gauge(ch, metricContainers, float64(n), k.namespace, k.state)
	}
	for _, u := range list {
		containerSeries(ch, &u.stats, u.labels)
	}
}

func containerSeries(ch chan<- prometheus.Metric, s *control.ContainerStats, labels []string) {
	with := func(more string) []string { return append(slices.Clone(labels), more) }
	counter(ch, metricRequests, float64(s.Requests), labels...)
	gauge(ch, metricInFlight, float64(max(0, s.InFlight)), labels...)
	counter(ch, metricSeconds, float64(s.GuestNanos)/1e9, labels...)
	counter(ch, metricDropped, float64(s.LogDropped), labels...)
	gauge(ch, metricMemory, float64(s.MemoryBytes), labels...)
	counter(ch, metricFuel, float64(s.Pool.Fuel), labels...)
	counter(ch, metricCPU, float64(s.Pool.CPUNanos)/1e9, labels...)
	for _, code := range append(slices.Clone(control.FailureCodes), "other") {
		if n := *s.Causes.Of(code); n > 0 {
			counter(ch, metricFailures, float64(n), with(code)...)
		}
	}
	for how, n := range map[string]uint64{"clone": s.Pool.Clones, "reset": s.Pool.Resets, "fresh": s.Pool.Fresh, "reuse": s.Pool.Reuses} {
		if n > 0 {
			counter(ch, metricInstances, float64(n), with(how)...)
		}
	}
	for kind, nanos := range map[string]int64{"clone": s.Pool.CloneNanos, "reset": s.Pool.ResetNanos, "guest": s.Pool.GuestNanos, "fallback": s.Pool.FallbackNanos} {
		if nanos > 0 {
			counter(ch, metricInstanceTime, float64(nanos)/1e9, with(kind)...)
		}
	}
	for _, cause := range slices.Sorted(maps.Keys(s.Pool.Discards)) {
		counter(ch, metricDiscards, float64(s.Pool.Discards[cause]), with(cause)...)
	}
	for state, n := range map[string]int{"idle": s.Pool.Idle, "busy": s.Pool.Busy} {
		gauge(ch, metricAlive, float64(n), with(state)...)
	}
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, valid(labels)...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, valid(labels)...)
}

// valid makes labels what Prometheus takes: names come from clients.
func valid(labels []string) []string {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
	}
	return labels
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// pooled says whether a guest has instances only while it is asked: HTTP guests are.
func pooled(abi string) bool {
	switch module.ABI(abi) {
	case module.ABIReactor, module.ABIHTTPWasm, module.ABIWAGI:
		return true
	}
	return false
}
