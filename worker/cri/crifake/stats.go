package crifake

import (
	"context"
	"maps"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// usage is what a container is said to take.
type usage struct{ cpuNanos, memory, layer uint64 }

// SetUsage says what the pod's containers of that name take from now on. Those of which nothing was said have no figures.
func (r *Runtime) SetUsage(podUID, name string, cpuNanos, memory uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.usage[podUID+"/"+name] = usage{cpuNanos: cpuNanos, memory: memory}
}

// SetLayer says how many bytes the pod's containers of that name have written into a layer of their own.
func (r *Runtime) SetLayer(podUID, name string, bytes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.usage[podUID+"/"+name]
	u.layer = bytes
	r.usage[podUID+"/"+name] = u
}

// WithoutStreams makes the streamed lists answer Unimplemented, as containerd does.
func (r *Runtime) WithoutStreams() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noStreams = true
}

func (s *service) stats(f *runtimev1.ContainerStatsFilter) []*runtimev1.ContainerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*runtimev1.ContainerStats
	for _, c := range s.containers {
		matches := (f.GetId() == "" || f.GetId() == c.id) && (f.GetPodSandboxId() == "" || f.GetPodSandboxId() == c.sandboxID)
		if !c.running() || !matches || !selects(f.GetLabelSelector(), c.config.GetLabels()) {
			continue
		}
		one := &runtimev1.ContainerStats{Attributes: &runtimev1.ContainerAttributes{
			Id: c.id, Metadata: c.config.GetMetadata(), Labels: maps.Clone(c.config.GetLabels()), Annotations: maps.Clone(c.config.GetAnnotations()),
		}}
		if u, ok := s.usage[s.sandboxes[c.sandboxID].uid()+"/"+c.config.GetMetadata().GetName()]; ok {
			now := time.Now().UnixNano()
			one.Cpu = &runtimev1.CpuUsage{Timestamp: now, UsageCoreNanoSeconds: &runtimev1.UInt64Value{Value: u.cpuNanos}}
			one.Memory = &runtimev1.MemoryUsage{Timestamp: now, WorkingSetBytes: &runtimev1.UInt64Value{Value: u.memory}}
			one.WritableLayer = &runtimev1.FilesystemUsage{Timestamp: now, UsedBytes: &runtimev1.UInt64Value{Value: u.layer}}
		}
		out = append(out, one)
	}
	return out
}

func (s *service) ListContainerStats(_ context.Context, req *runtimev1.ListContainerStatsRequest) (*runtimev1.ListContainerStatsResponse, error) {
	return &runtimev1.ListContainerStatsResponse{Stats: s.stats(req.GetFilter())}, nil
}

func (s *service) StreamContainerStats(req *runtimev1.StreamContainerStatsRequest, stream grpc.ServerStreamingServer[runtimev1.StreamContainerStatsResponse]) error {
	s.mu.Lock()
	without, fault := s.noStreams, s.faults["StreamContainerStats"]
	s.mu.Unlock()
	if without {
		return status.Error(codes.Unimplemented, "no streams")
	}
	if fault != nil {
		return fault
	}
	for _, one := range s.stats(req.GetFilter()) {
		if err := stream.Send(&runtimev1.StreamContainerStatsResponse{ContainerStats: []*runtimev1.ContainerStats{one}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) ContainerStats(_ context.Context, req *runtimev1.ContainerStatsRequest) (*runtimev1.ContainerStatsResponse, error) {
	all := s.stats(&runtimev1.ContainerStatsFilter{Id: req.GetContainerId()})
	if len(all) != 1 || req.GetContainerId() == "" {
		return nil, status.Errorf(codes.NotFound, "container %q not found", req.GetContainerId())
	}
	return &runtimev1.ContainerStatsResponse{Stats: all[0]}, nil
}

func (s *service) PodSandboxStats(ctx context.Context, req *runtimev1.PodSandboxStatsRequest) (*runtimev1.PodSandboxStatsResponse, error) {
	all, err := s.ListPodSandboxStats(ctx, &runtimev1.ListPodSandboxStatsRequest{})
	if err != nil {
		return nil, err
	}
	for _, one := range all.GetStats() {
		if one.GetAttributes().GetId() == req.GetPodSandboxId() {
			one.Linux.Containers = s.stats(&runtimev1.ContainerStatsFilter{PodSandboxId: req.GetPodSandboxId()})
			return &runtimev1.PodSandboxStatsResponse{Stats: one}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "sandbox %q not found", req.GetPodSandboxId())
}

func (s *service) ListPodSandboxStats(_ context.Context, req *runtimev1.ListPodSandboxStatsRequest) (*runtimev1.ListPodSandboxStatsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &runtimev1.ListPodSandboxStatsResponse{}
	for _, b := range s.sandboxes {
		if b.state == runtimeNotReady || !selects(req.GetFilter().GetLabelSelector(), b.config.GetLabels()) {
			continue
		}
		out.Stats = append(out.Stats, &runtimev1.PodSandboxStats{
			Attributes: &runtimev1.PodSandboxAttributes{Id: b.id, Metadata: b.config.GetMetadata(), Labels: maps.Clone(b.config.GetLabels())},
			Linux: &runtimev1.LinuxPodSandboxStats{Network: &runtimev1.NetworkUsage{DefaultInterface: &runtimev1.NetworkInterfaceUsage{
				Name: "eth0", RxBytes: &runtimev1.UInt64Value{Value: 1}, TxBytes: &runtimev1.UInt64Value{Value: 2},
			}}},
		})
	}
	return out, nil
}

// ReopenContainerLog has the container write to a new file at its log's path.
func (s *service) ReopenContainerLog(_ context.Context, req *runtimev1.ReopenContainerLogRequest) (*runtimev1.ReopenContainerLogResponse, error) {
	s.mu.Lock()
	c := s.containers[req.GetContainerId()]
	var out *logFile
	if c != nil {
		out = c.out
	}
	s.mu.Unlock()
	if c == nil {
		return nil, status.Errorf(codes.NotFound, "container %q not found", req.GetContainerId())
	}
	if err := out.reopen(c.logPath); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &runtimev1.ReopenContainerLogResponse{}, nil
}

// UpdateContainerResources notes what the container is bounded to.
func (s *service) UpdateContainerResources(_ context.Context, req *runtimev1.UpdateContainerResourcesRequest) (*runtimev1.UpdateContainerResourcesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[req.GetContainerId()]
	if c == nil {
		return nil, status.Errorf(codes.NotFound, "container %q not found", req.GetContainerId())
	}
	if c.config.Linux == nil {
		c.config.Linux = &runtimev1.LinuxContainerConfig{}
	}
	c.config.Linux.Resources = req.GetLinux()
	return &runtimev1.UpdateContainerResourcesResponse{}, nil
}

// Resources are what the pod's containers of a name that run are bounded to.
func (r *Runtime) Resources(podUID, name string) (out []*runtimev1.LinuxContainerResources) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		if c.config.GetLabels()["io.kubernetes.pod.uid"] == podUID && c.config.GetMetadata().GetName() == name && c.state == runtimev1.ContainerState_CONTAINER_RUNNING {
			out = append(out, c.config.GetLinux().GetResources())
		}
	}
	return out
}

// SetImageDir says where the images lie.
func (r *Runtime) SetImageDir(dir string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.imageDir = dir
}

func (s *imageService) ImageFsInfo(context.Context, *runtimev1.ImageFsInfoRequest) (*runtimev1.ImageFsInfoResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.imageDir == "" {
		s.imageDir = os.TempDir()
	}
	var bytes uint64
	for image := range s.pulled {
		bytes += s.imageSize(image)
	}
	return &runtimev1.ImageFsInfoResponse{ImageFilesystems: []*runtimev1.FilesystemUsage{{
		FsId: &runtimev1.FilesystemIdentifier{Mountpoint: s.imageDir}, UsedBytes: &runtimev1.UInt64Value{Value: bytes},
	}}}, nil
}
