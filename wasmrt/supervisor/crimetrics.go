package supervisor

import (
	"context"
	"slices"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
)

// metric is one that every running container has.
type metric struct {
	name, help string
	kind       runtimev1.MetricType
	value      func(*control.ContainerStats) uint64
}

var metrics = []metric{
	{"petrel_container_requests_total", "Requests that an HTTP guest was asked.", runtimev1.MetricType_COUNTER, func(c *control.ContainerStats) uint64 { return c.Requests }},
	{"petrel_container_request_failures_total", "Requests that the runtime answered in the guest's place, or cut.", runtimev1.MetricType_COUNTER, func(c *control.ContainerStats) uint64 { return c.Failures }},
	{"petrel_container_requests_in_flight", "Requests in the guest now; of a running command 1.", runtimev1.MetricType_GAUGE, func(c *control.ContainerStats) uint64 { return uint64(max(0, c.InFlight)) }},
	{"petrel_container_busy_nanoseconds_total", "Wall time spent in requests or in the command.", runtimev1.MetricType_COUNTER, func(c *control.ContainerStats) uint64 { return uint64(max(0, c.GuestNanos)) }},
	{"petrel_container_log_dropped_total", "Log records that could not be written.", runtimev1.MetricType_COUNTER, func(c *control.ContainerStats) uint64 { return c.LogDropped }},
}

// known is a metric that every runtime has: kubelets that take their figures from the CRI pass these on as cAdvisor's,
// under which dashboards look for them. A value is a whole number there.
type known struct {
	name, help string
	kind       runtimev1.MetricType
	more       []string // values of labels beyond knownLabels, with their keys before them
	value      func(c *container, s *control.ContainerStats, now int64) uint64
}

// knownLabels are cAdvisor's.
var knownLabels = []string{"container", "id", "image", "name", "namespace", "pod"}

var knowns = []known{
	{"container_cpu_usage_seconds_total", "Processor time used.", runtimev1.MetricType_COUNTER, []string{"cpu", "total"},
		func(_ *container, s *control.ContainerStats, _ int64) uint64 {
			return uint64(max(0, s.Pool.CPUNanos) / int64(time.Second))
		}},
	{"container_memory_usage_bytes", "Memory of the guest's instances.", runtimev1.MetricType_GAUGE, nil, memoryOf},
	{"container_memory_working_set_bytes", "Memory of the guest's instances.", runtimev1.MetricType_GAUGE, nil, memoryOf},
	{"container_memory_rss", "Memory of the guest's instances.", runtimev1.MetricType_GAUGE, nil, memoryOf},
	{"container_start_time_seconds", "When it started, in seconds of Unix time.", runtimev1.MetricType_GAUGE, nil,
		func(c *container, _ *control.ContainerStats, _ int64) uint64 {
			return uint64(max(0, c.record.Status.StartedAt) / int64(time.Second))
		}},
	{"container_last_seen", "When it was measured, in seconds of Unix time.", runtimev1.MetricType_GAUGE, nil,
		func(_ *container, _ *control.ContainerStats, now int64) uint64 {
			return uint64(max(0, now) / int64(time.Second))
		}},
}

func memoryOf(_ *container, s *control.ContainerStats, _ int64) uint64 { return s.MemoryBytes }

// ListMetricDescriptors describes the metrics of ListPodSandboxMetrics.
func (s *Supervisor) ListMetricDescriptors(context.Context, *runtimev1.ListMetricDescriptorsRequest) (*runtimev1.ListMetricDescriptorsResponse, error) {
	response := &runtimev1.ListMetricDescriptorsResponse{}
	for _, m := range metrics {
		response.Descriptors = append(response.Descriptors, &runtimev1.MetricDescriptor{Name: m.name, Help: m.help, LabelKeys: []string{"id", "name"}})
	}
	for _, m := range knowns {
		labels := slices.Clone(knownLabels)
		if len(m.more) > 0 {
			labels = append(labels, m.more[0])
		}
		response.Descriptors = append(response.Descriptors, &runtimev1.MetricDescriptor{Name: m.name, Help: m.help, LabelKeys: labels})
	}
	return response, nil
}

// ListPodSandboxMetrics tells the metrics of all running containers.
func (s *Supervisor) ListPodSandboxMetrics(ctx context.Context, _ *runtimev1.ListPodSandboxMetricsRequest) (*runtimev1.ListPodSandboxMetricsResponse, error) {
	list, err := s.sandboxMetrics(ctx)
	return &runtimev1.ListPodSandboxMetricsResponse{PodMetrics: list}, grpcError(err)
}

func (s *Supervisor) sandboxMetrics(ctx context.Context) ([]*runtimev1.PodSandboxMetrics, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	byID := map[string]control.ContainerStats{}
	for _, r := range s.fleet.All() {
		if err := collectStats(ctx, r, false, byID); err != nil {
			return nil, err
		}
	}
	now := s.cfg.Now().UnixNano()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*runtimev1.PodSandboxMetrics
	for _, b := range s.sandboxes {
		pod := &runtimev1.PodSandboxMetrics{PodSandboxId: b.record.ID}
		for id, c := range b.containers {
			if stats, ok := byID[id]; ok && c.record.Status.State == control.StateRunning {
				pod.ContainerMetrics = append(pod.ContainerMetrics, &runtimev1.ContainerMetrics{ContainerId: id, Metrics: containerMetrics(b, c, &stats, now)})
			}
		}
		if len(pod.ContainerMetrics) > 0 {
			list = append(list, pod)
		}
	}
	return list, nil
}

// collectStats asks a runner for all its containers, or for those that were used.
func collectStats(ctx context.Context, r *fleet.Runner, used bool, byID map[string]control.ContainerStats) error {
	for after := ""; ; {
		var page control.StatsResult
		if err := r.Call(ctx, control.MethodStats, control.StatsParams{After: after, Used: used}, &page); err != nil {
			if !r.Alive() {
				return nil // what it would have told is gone with it
			}
			return err
		}
		for _, c := range page.Containers {
			byID[c.ID] = c
		}
		if after = page.Next; !page.More {
			return nil
		}
	}
}

func containerMetrics(b *sandbox, c *container, stats *control.ContainerStats, now int64) []*runtimev1.Metric {
	config, pod := c.config.containerConfig(), b.config.sandboxConfig().GetMetadata()
	out, name := make([]*runtimev1.Metric, 0, len(metrics)+len(knowns)), config.GetMetadata().GetName()
	for _, m := range metrics {
		out = append(out, &runtimev1.Metric{Name: m.name, Timestamp: now, MetricType: m.kind,
			LabelValues: []string{c.record.ID, name}, Value: &runtimev1.UInt64Value{Value: m.value(stats)}})
	}
	for _, m := range knowns {
		labels := []string{name, c.record.ID, config.GetImage().GetImage(), c.record.ID, pod.GetNamespace(), pod.GetName()}
		if len(m.more) > 0 {
			labels = append(labels, m.more[1])
		}
		out = append(out, &runtimev1.Metric{Name: m.name, Timestamp: now, MetricType: m.kind, LabelValues: labels, Value: &runtimev1.UInt64Value{Value: m.value(c, stats, now)}})
	}
	return out
}
