package tasks

import (
	"context"
	"time"

	"github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/shim/bundle"
	topics "github.com/petrelrun/petrel/wasmrt/shim/events"
)

// reasonOOM is how the runtime tells that the kernel ended a runner for its memory.
const reasonOOM = "OOMKilled"

// ending is how a task ended.
type ending struct {
	code uint32
	at   time.Time
	oom  bool
}

// endOf reads how the runtime's container ended.
func endOf(c *runtimev1.ContainerStatus) ending {
	return ending{code: uint32(c.GetExitCode()), at: time.Unix(0, c.GetFinishedAt()), oom: c.GetReason() == reasonOOM}
}

// end tells that a task has ended, once, after what it printed was handed on.
func (s *Service) end(t *task, e ending) {
	t.op.Lock()
	defer t.op.Unlock()
	if t.now() == phaseStopped {
		return
	}
	if t.relay != nil {
		if err := t.relay.Close(); err != nil {
			s.cfg.Logger.Warn("output not closed", "task", t.id, "error", err)
		}
	}
	if !t.stop(e.code, e.at) {
		return
	}
	if e.oom {
		s.cfg.Publish(topics.TaskOOM, &events.TaskOOM{ContainerID: t.id})
	}
	s.cfg.Publish(topics.TaskExit, &events.TaskExit{ContainerID: t.id, ID: t.id, Pid: t.pid, ExitStatus: e.code, ExitedAt: timestamppb.New(e.at)})
	close(t.exited)
}

// look asks the runtime for a container and takes over that it has ended.
func (s *Service) look(ctx context.Context, t *task) error {
	r, err := s.cfg.Runtime.ContainerStatus(ctx, &runtimev1.ContainerStatusRequest{ContainerId: t.guestID})
	if status.Code(err) == codes.NotFound {
		s.end(t, ending{code: exitKilled, at: s.cfg.Now()})
		return nil
	}
	if err != nil {
		return err
	}
	if r.GetStatus().GetState() == runtimev1.ContainerState_CONTAINER_EXITED {
		s.end(t, endOf(r.GetStatus()))
	}
	return nil
}

// Wait answers when a task has ended.
func (s *Service) Wait(ctx context.Context, r *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	t, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	exited, exit := t.exited, t.exit
	if r.ExecID != "" {
		p, err := t.process(r.ExecID)
		if err != nil {
			return nil, err
		}
		exited, exit = p.exited, p.exit
	}
	select {
	case <-exited:
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	case <-s.ctx.Done():
		return nil, status.Error(codes.Unavailable, "the shim is ending")
	}
	_, code, at := exit()
	return &taskapi.WaitResponse{ExitStatus: code, ExitedAt: at}, nil
}

// Delete removes a task that has ended, or was never started, and what the runtime has of it.
func (s *Service) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	t, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	if r.ExecID != "" {
		return t.deleteProcess(r.ExecID)
	}
	if t.now() == phaseRunning {
		return nil, status.Errorf(codes.FailedPrecondition, "task %s is running: kill it first", t.id)
	}
	if err := s.discard(ctx, t); err != nil {
		return nil, wrap(err, "remove")
	}
	s.end(t, ending{code: exitKilled, at: s.cfg.Now()}) // of one that was never started
	if t.kind == bundle.Sandbox {
		for _, m := range s.members(t) { // the runtime removed them with their sandbox
			s.end(m, ending{code: exitKilled, at: s.cfg.Now()})
		}
	}
	s.mu.Lock()
	delete(s.tasks, t.id)
	s.mu.Unlock()
	_, code, at := t.exit()
	s.cfg.Publish(topics.TaskDelete, &events.TaskDelete{ContainerID: t.id, ID: t.id, Pid: t.pid, ExitStatus: code, ExitedAt: at})
	return &taskapi.DeleteResponse{Pid: t.pid, ExitStatus: code, ExitedAt: at}, nil
}
