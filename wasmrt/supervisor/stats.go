package supervisor

import (
	"context"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// Stats hold what was measured and leave out what was not: guests of a namespace share a process, so what a container took
// is what the engine has counted. Memory is what a limit is held against: all that a command's has grown to, and of an HTTP
// guest what its instances keep. What else is counted for each (requests, failures, time) are the metrics of
// ListPodSandboxMetrics; what a namespace's process takes is in the runtime's verbose status.

// measured asks the runners what was counted of the containers that were ever used.
func (s *Supervisor) measured(ctx context.Context) (map[string]control.ContainerStats, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	byID := map[string]control.ContainerStats{}
	for _, r := range s.fleet.All() {
		if err := collectStats(ctx, r, true, byID); err != nil {
			return nil, grpcError(err)
		}
	}
	return byID, nil
}

// ContainerStats tells of one container.
func (s *Supervisor) ContainerStats(ctx context.Context, r *runtimev1.ContainerStatsRequest) (*runtimev1.ContainerStatsResponse, error) {
	c, err := s.findContainer(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	byID, err := s.measured(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &runtimev1.ContainerStatsResponse{Stats: s.containerStats(c, byID)}, nil
}

// containerStats wants the mutex to be held.
func (s *Supervisor) containerStats(c *container, byID map[string]control.ContainerStats) *runtimev1.ContainerStats {
	config, now := c.config.containerConfig(), s.cfg.Now().UnixNano()
	stats := &runtimev1.ContainerStats{
		Attributes: &runtimev1.ContainerAttributes{Id: c.record.ID, Metadata: config.GetMetadata(), Labels: config.GetLabels(), Annotations: config.GetAnnotations()},
		WritableLayer: &runtimev1.FilesystemUsage{Timestamp: now, FsId: &runtimev1.FilesystemIdentifier{Mountpoint: s.images.Dir()},
			UsedBytes: &runtimev1.UInt64Value{}, InodesUsed: &runtimev1.UInt64Value{}},
	}
	// A server that nobody has asked yet has taken nothing; a command of which nothing is told was not measured.
	if counted, told := byID[c.record.ID]; told || pooled(c.record.Status.ABI) {
		stats.Cpu = &runtimev1.CpuUsage{Timestamp: now, UsageCoreNanoSeconds: &runtimev1.UInt64Value{Value: uint64(max(0, counted.Pool.CPUNanos))}}
		resident := &runtimev1.UInt64Value{Value: counted.MemoryBytes}
		stats.Memory = &runtimev1.MemoryUsage{Timestamp: now, WorkingSetBytes: resident, RssBytes: resident, UsageBytes: resident}
	}
	return stats
}

// ListContainerStats tells of the running containers that the filter lets through.
func (s *Supervisor) ListContainerStats(ctx context.Context, r *runtimev1.ListContainerStatsRequest) (*runtimev1.ListContainerStatsResponse, error) {
	list, err := s.listContainerStats(ctx, r.GetFilter())
	return &runtimev1.ListContainerStatsResponse{Stats: list}, err
}

func (s *Supervisor) listContainerStats(ctx context.Context, f *runtimev1.ContainerStatsFilter) ([]*runtimev1.ContainerStats, error) {
	byID, err := s.measured(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []*runtimev1.ContainerStats
	for _, c := range s.selectContainers(f.GetId(), f.GetPodSandboxId(), f.GetLabelSelector()) {
		if c.record.Status.State == control.StateRunning {
			out = append(out, s.containerStats(c, byID))
		}
	}
	return out, nil
}

// PodSandboxStats tells of one sandbox and its running containers.
func (s *Supervisor) PodSandboxStats(ctx context.Context, r *runtimev1.PodSandboxStatsRequest) (*runtimev1.PodSandboxStatsResponse, error) {
	b, err := s.findSandbox(r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	byID, err := s.measured(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &runtimev1.PodSandboxStatsResponse{Stats: s.sandboxStats(b, byID)}, nil
}

func (s *Supervisor) sandboxStats(b *sandbox, byID map[string]control.ContainerStats) *runtimev1.PodSandboxStats {
	config, linux := b.config.sandboxConfig(), &runtimev1.LinuxPodSandboxStats{}
	for _, c := range b.containers {
		if c.record.Status.State == control.StateRunning {
			linux.Containers = append(linux.Containers, s.containerStats(c, byID))
		}
	}
	return &runtimev1.PodSandboxStats{
		Attributes: &runtimev1.PodSandboxAttributes{Id: b.record.ID, Metadata: config.GetMetadata(), Labels: config.GetLabels(), Annotations: config.GetAnnotations()},
		Linux:      linux,
	}
}

// ListPodSandboxStats tells of the ready sandboxes that the filter lets through.
func (s *Supervisor) ListPodSandboxStats(ctx context.Context, r *runtimev1.ListPodSandboxStatsRequest) (*runtimev1.ListPodSandboxStatsResponse, error) {
	list, err := s.listSandboxStats(ctx, r.GetFilter())
	return &runtimev1.ListPodSandboxStatsResponse{Stats: list}, err
}

func (s *Supervisor) listSandboxStats(ctx context.Context, f *runtimev1.PodSandboxStatsFilter) ([]*runtimev1.PodSandboxStats, error) {
	byID, err := s.measured(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []*runtimev1.PodSandboxStats
	for _, b := range s.selectSandboxes(f.GetId(), f.GetLabelSelector()) {
		if b.record.Ready {
			out = append(out, s.sandboxStats(b, byID))
		}
	}
	return out, nil
}
