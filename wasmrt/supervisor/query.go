package supervisor

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// ContainerStatus tells of one container; verbose adds what its module cost.
func (s *Supervisor) ContainerStatus(_ context.Context, r *runtimev1.ContainerStatusRequest) (*runtimev1.ContainerStatusResponse, error) {
	c, err := s.findContainer(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	response := &runtimev1.ContainerStatusResponse{Status: c.status()}
	if r.GetVerbose() {
		response.Info = containerInfo(&c.record)
	}
	return response, nil
}

// ListContainers lists the containers that the filter lets through, the newest first.
func (s *Supervisor) ListContainers(_ context.Context, r *runtimev1.ListContainersRequest) (*runtimev1.ListContainersResponse, error) {
	return &runtimev1.ListContainersResponse{Containers: s.listContainers(r.GetFilter())}, nil
}

func (s *Supervisor) listContainers(f *runtimev1.ContainerFilter) []*runtimev1.Container {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var items []*runtimev1.Container
	for _, c := range s.selectContainers(f.GetId(), f.GetPodSandboxId(), f.GetLabelSelector()) {
		if f.GetState() == nil || f.GetState().GetState() == c.state() {
			items = append(items, c.item())
		}
	}
	return items
}

// selectContainers answers those of an id and of a sandbox, if these are given, and with the labels. The mutex is held.
func (s *Supervisor) selectContainers(id, sandboxID string, labels map[string]string) []*container {
	candidates := s.containers
	if sandboxID != "" {
		b, err := lookup(s.sandboxes, "sandbox", sandboxID)
		if err != nil {
			return nil
		}
		candidates = b.containers
	}
	if id != "" {
		c, err := lookup(candidates, "container", id)
		if err != nil || !c.matches(labels) {
			return nil
		}
		return []*container{c}
	}
	var list []*container
	if uid := labels[labelPodUID]; uid != "" && sandboxID == "" {
		for _, c := range s.pods.containers[uid] {
			if c.matches(labels) {
				list = append(list, c)
			}
		}
	} else {
		for _, c := range candidates {
			if c.matches(labels) {
				list = append(list, c)
			}
		}
	}
	slices.SortFunc(list, func(x, y *container) int {
		return cmp.Compare(y.record.Status.CreatedAt, x.record.Status.CreatedAt)
	})
	return list
}

// UpdateContainerResources changes the memory limit of instances to come. The rest of the resources is not a guest's.
func (s *Supervisor) UpdateContainerResources(ctx context.Context, r *runtimev1.UpdateContainerResourcesRequest) (*runtimev1.UpdateContainerResourcesResponse, error) {
	c, err := s.findContainer(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	limit := memoryLimit(r.GetLinux())
	if limit == 0 {
		return &runtimev1.UpdateContainerResourcesResponse{}, nil // the CRI's word for "as it is"
	}
	defer s.steady(c.sandbox.record.Namespace)()
	c.op.Lock()
	defer c.op.Unlock()
	s.mu.RLock()
	id, last, runner := c.record.ID, c.record.Status, c.sandbox.runner
	s.mu.RUnlock()
	if last.MemoryLimit == limit {
		return &runtimev1.UpdateContainerResourcesResponse{}, nil
	}
	if runner == nil || last.State == control.StateExited {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s has exited", id)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var news control.Status
	if err := runner.Call(ctx, control.MethodUpdate, control.UpdateParams{ID: id, MemoryLimit: limit}, &news); err != nil {
		return nil, grpcError(err)
	}
	s.apply(c, news)
	return &runtimev1.UpdateContainerResourcesResponse{}, nil
}

// ReopenContainerLog makes a running container write to a new file, after its log was moved away.
func (s *Supervisor) ReopenContainerLog(ctx context.Context, r *runtimev1.ReopenContainerLogRequest) (*runtimev1.ReopenContainerLogResponse, error) {
	c, err := s.findContainer(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	defer s.steady(c.sandbox.record.Namespace)()
	s.mu.RLock()
	id, now, runner := c.record.ID, c.record.Status.State, c.sandbox.runner
	s.mu.RUnlock()
	if now != control.StateRunning || runner == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s is not running", id)
	}
	if err := makeLog(c.record.LogPath, runner); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = runner.Call(ctx, control.MethodReopen, control.Target{ID: id}, nil)
	return &runtimev1.ReopenContainerLogResponse{}, grpcError(err)
}
