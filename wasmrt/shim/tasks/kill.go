package tasks

import (
	"context"
	"errors"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// politeGrace is what a guest gets that is asked to end. Whoever asks sends SIGKILL when its own patience is over.
const politeGrace = 24 * time.Hour

// ignored are the signals that end no process by themselves. Guests do not see any; the others end them.
var ignored = map[unix.Signal]bool{0: true, unix.SIGCHLD: true, unix.SIGCONT: true, unix.SIGURG: true, unix.SIGWINCH: true}

// pausing are those that would stop a process to go on later.
var pausing = map[unix.Signal]bool{unix.SIGSTOP: true, unix.SIGTSTP: true, unix.SIGTTIN: true, unix.SIGTTOU: true}

// Kill ends a task: at once with SIGKILL; with any other signal that ends processes, a guest finishes its requests first.
func (s *Service) Kill(ctx context.Context, r *taskapi.KillRequest) (*emptypb.Empty, error) {
	t, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	signal := unix.Signal(r.Signal)
	if r.ExecID != "" {
		p, err := t.process(r.ExecID)
		if err != nil {
			return nil, err
		}
		return &emptypb.Empty{}, s.killProcess(p, !ignored[signal] && !pausing[signal])
	}
	switch {
	case t.now() == phaseStopped:
		return nil, status.Errorf(codes.NotFound, "task %s: process already finished", t.id)
	case pausing[signal]:
		return nil, status.Error(codes.Unimplemented, noPause)
	case ignored[signal]:
	case t.guestID == "":
		return &emptypb.Empty{}, s.stopSandbox(ctx, t, exitSignal+r.Signal)
	case t.now() == phaseCreated:
		s.endCreated(t, exitSignal+r.Signal)
	case signal == unix.SIGKILL:
		s.stopGuest(t, 0)
	default:
		s.stopGuest(t, politeGrace)
	}
	return &emptypb.Empty{}, nil
}

// stopSandbox ends the runtime's sandbox: when the task has exited, containerd removes the network namespace, which must
// not be in use any more.
func (s *Service) stopSandbox(ctx context.Context, t *task, code uint32) error {
	for _, m := range s.members(t) {
		if m.now() != phaseStopped {
			s.stopGuest(m, 0)
		}
	}
	if _, err := s.cfg.Runtime.StopPodSandbox(ctx, &runtimev1.StopPodSandboxRequest{PodSandboxId: t.podID}); err != nil {
		return wrap(err, "stop sandbox")
	}
	s.end(t, ending{code: code, at: s.cfg.Now()})
	return nil
}

// endCreated ends a container that was never started, unless it is being started now.
func (s *Service) endCreated(t *task, code uint32) {
	t.op.Lock()
	running := t.now() == phaseRunning
	t.op.Unlock()
	if running {
		s.stopGuest(t, 0)
		return
	}
	s.end(t, ending{code: code, at: s.cfg.Now()})
}

// A runtime that is away is started again, and asked again every stopRetry, for stopPatience: containerd does not ask a
// second time, it waits for the task's end.
const (
	stopRetry    = 100 * time.Millisecond
	stopPatience = 5 * time.Minute
)

// stopGuest has the runtime stop a container, and does not wait. A later call with less grace ends an earlier one.
func (s *Service) stopGuest(t *task, grace time.Duration) {
	s.wg.Go(func() {
		if err := s.askToStop(t, grace); err != nil && s.ctx.Err() == nil {
			s.cfg.Logger.Warn("container not stopped", "task", t.id, "error", err)
		}
		if err := s.look(s.ctx, t); err != nil && s.ctx.Err() == nil {
			s.cfg.Logger.Warn("stopped container not asked for", "task", t.id, "error", err)
		}
	})
}

func (s *Service) askToStop(t *task, grace time.Duration) error {
	for range int(stopPatience / stopRetry) {
		_, err := s.cfg.Runtime.StopContainer(s.ctx, &runtimev1.StopContainerRequest{ContainerId: t.guestID, Timeout: int64(grace / time.Second)})
		if status.Code(err) != codes.Unavailable || t.now() == phaseStopped {
			return err
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-time.After(stopRetry):
		}
	}
	return errors.New("the runtime has been away for too long")
}
