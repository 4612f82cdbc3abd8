package tasks

import (
	"context"
	"encoding/json"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/shim/bundle"
)

// Why some of what processes have is not there.
const (
	noPause       = "Wasm guests are not paused: an HTTP guest that nobody asks takes no processor time"
	noCheckpoints = "Wasm guests are not checkpointed: an HTTP guest keeps nothing between requests"
	noTerminal    = "a Wasm guest has no terminal"
)

// State tells how a task does.
func (s *Service) State(_ context.Context, r *taskapi.StateRequest) (*taskapi.StateResponse, error) {
	t, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	streams, exit := t.stdio, t.exit
	if r.ExecID != "" {
		p, err := t.process(r.ExecID)
		if err != nil {
			return nil, err
		}
		streams, exit = p.stdio, p.exit
	}
	now, code, at := exit()
	return &taskapi.StateResponse{ID: t.id, Bundle: t.bundle, Pid: t.pid, Status: states[now], ExitStatus: code, ExitedAt: at,
		Stdin: streams.in, Stdout: streams.out, Stderr: streams.err, ExecID: r.ExecID}, nil
}

// Pids answers the process that runs the guest. containerd takes a task without any for dead.
func (s *Service) Pids(_ context.Context, r *taskapi.PidsRequest) (*taskapi.PidsResponse, error) {
	t, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	return &taskapi.PidsResponse{Processes: []*tasktypes.ProcessInfo{{Pid: t.pid}}}, nil
}

// Connect answers processes; containerd asks it of what it finds after a restart.
func (s *Service) Connect(_ context.Context, r *taskapi.ConnectRequest) (*taskapi.ConnectResponse, error) {
	t, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	return &taskapi.ConnectResponse{ShimPid: s.pid, TaskPid: t.pid}, nil
}

// Shutdown is asked with each task that ends. The service ends when it has had none for a while.
func (s *Service) Shutdown(context.Context, *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

// Stats answers what the runtime has counted of a container, in the form of control groups, which containerd reads.
func (s *Service) Stats(ctx context.Context, r *taskapi.StatsRequest) (*taskapi.StatsResponse, error) {
	t, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	m := &stats.Metrics{CPU: &stats.CPUStat{}, Memory: &stats.MemoryStat{}, Pids: &stats.PidsStat{}}
	if t.guestID != "" {
		counted, err := s.cfg.Runtime.ContainerStats(ctx, &runtimev1.ContainerStatsRequest{ContainerId: t.guestID})
		if err != nil {
			return nil, wrap(err, "stats")
		}
		m.CPU.UsageUsec = counted.GetStats().GetCpu().GetUsageCoreNanoSeconds().GetValue() / 1000
		m.CPU.UserUsec = m.CPU.UsageUsec
		m.Memory.Usage = counted.GetStats().GetMemory().GetWorkingSetBytes().GetValue()
		m.Memory.Anon = m.Memory.Usage
	}
	raw, err := proto.Marshal(m)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode stats: %v", err)
	}
	return &taskapi.StatsResponse{Stats: &anypb.Any{TypeUrl: string(m.ProtoReflect().Descriptor().FullName()), Value: raw}}, nil
}

// Update changes the memory limit of instances to come. The rest of the resources is not a guest's.
func (s *Service) Update(ctx context.Context, r *taskapi.UpdateTaskRequest) (*emptypb.Empty, error) {
	t, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	var resources bundle.Resources
	if err := json.Unmarshal(r.GetResources().GetValue(), &resources); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "read resources: %v", err)
	}
	if t.guestID == "" || resources.Memory.Limit <= 0 {
		return &emptypb.Empty{}, nil
	}
	_, err = s.cfg.Runtime.UpdateContainerResources(ctx, &runtimev1.UpdateContainerResourcesRequest{
		ContainerId: t.guestID, Linux: &runtimev1.LinuxContainerResources{MemoryLimitInBytes: resources.Memory.Limit}})
	if err != nil {
		return nil, wrap(err, "update")
	}
	return &emptypb.Empty{}, nil
}

// CloseIO is done: guests read no input.
func (s *Service) CloseIO(_ context.Context, r *taskapi.CloseIORequest) (*emptypb.Empty, error) {
	t, err := s.find(r.ID)
	if err == nil && r.ExecID != "" {
		_, err = t.process(r.ExecID)
	}
	return &emptypb.Empty{}, err
}

// ResizePty is not served; the error tells why.
func (s *Service) ResizePty(context.Context, *taskapi.ResizePtyRequest) (*emptypb.Empty, error) {
	return nil, status.Error(codes.Unimplemented, noTerminal)
}

// Pause is not served; the error tells why.
func (s *Service) Pause(context.Context, *taskapi.PauseRequest) (*emptypb.Empty, error) {
	return nil, status.Error(codes.Unimplemented, noPause)
}

// Resume is not served; the error tells why.
func (s *Service) Resume(context.Context, *taskapi.ResumeRequest) (*emptypb.Empty, error) {
	return nil, status.Error(codes.Unimplemented, noPause)
}

// Checkpoint is not served; the error tells why.
func (s *Service) Checkpoint(context.Context, *taskapi.CheckpointTaskRequest) (*emptypb.Empty, error) {
	return nil, status.Error(codes.Unimplemented, noCheckpoints)
}
