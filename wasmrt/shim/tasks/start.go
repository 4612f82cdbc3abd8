package tasks

import (
	"context"

	"github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	topics "github.com/petrelrun/petrel/wasmrt/shim/events"
)

// Start starts what Create made. A sandbox is there already.
func (s *Service) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	t, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	if r.ExecID != "" {
		return s.startProcess(t, r.ExecID)
	}
	t.op.Lock()
	defer t.op.Unlock()
	if t.now() != phaseCreated {
		return nil, status.Errorf(codes.FailedPrecondition, "task %s was started before, or has ended", t.id)
	}
	if t.guestID != "" {
		if _, err := s.cfg.Runtime.StartContainer(ctx, &runtimev1.StartContainerRequest{ContainerId: t.guestID}); err != nil {
			return nil, wrap(err, "start container")
		}
	}
	t.move()
	s.cfg.Publish(topics.TaskStart, &events.TaskStart{ContainerID: t.id, Pid: t.pid})
	return &taskapi.StartResponse{Pid: t.pid}, nil
}
