package tasks

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/shim/bundle"
	topics "github.com/petrelrun/petrel/wasmrt/shim/events"
)

// undoTime bounds what is done to leave nothing of a task that could not be made.
const undoTime = 30 * time.Second

// Create makes a task: of a sandbox the runtime's sandbox, of a container the runtime's container, not yet started.
func (s *Service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	config, err := bundle.Read(r.Bundle)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if r.Terminal || config.Terminal {
		return nil, status.Error(codes.InvalidArgument, "a Wasm guest has no terminal: tty must be false")
	}
	if r.Checkpoint != "" {
		return nil, status.Error(codes.Unimplemented, noCheckpoints)
	}
	t := &task{id: r.ID, bundle: r.Bundle, kind: config.Kind, pid: s.pid, exited: make(chan struct{}), stdio: stdio{r.Stdin, r.Stdout, r.Stderr}}
	if err := s.reserve(t); err != nil {
		return nil, err
	}
	if err := s.build(ctx, t, r, config); err != nil {
		s.undo(t)
		return nil, err
	}
	s.cfg.Publish(topics.TaskCreate, &events.TaskCreate{ContainerID: t.id, Bundle: t.bundle, Rootfs: r.Rootfs, Pid: t.pid,
		IO: &events.TaskIO{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr}})
	s.adopt(t)
	return &taskapi.CreateTaskResponse{Pid: t.pid}, nil
}

// reserve takes the id for a task that is being made.
func (s *Service) reserve(t *task) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.building[t.id] || s.tasks[t.id] != nil {
		return status.Errorf(codes.AlreadyExists, "task %s: already exists", t.id)
	}
	s.building[t.id] = true
	return nil
}

// adopt makes a task known that was made.
func (s *Service) adopt(t *task) {
	s.mu.Lock()
	delete(s.building, t.id)
	s.tasks[t.id] = t
	s.mu.Unlock()
}

func (s *Service) build(ctx context.Context, t *task, r *taskapi.CreateTaskRequest, config *bundle.Config) error {
	switch t.kind {
	case bundle.Sandbox:
		return s.runSandbox(ctx, t, config)
	case bundle.Member:
		sandbox, err := s.find(config.SandboxID)
		if err != nil || sandbox.kind != bundle.Sandbox {
			return status.Errorf(codes.NotFound, "sandbox %s of container %s: not found", config.SandboxID, t.id)
		}
		t.sandbox, t.podID, t.pid = sandbox, sandbox.podID, sandbox.pid
	default:
		if config.NewNetwork {
			return status.Error(codes.InvalidArgument, "a network namespace of its own has no network: use the host's (ctr run --net-host), or one that is there (ctr run --with-ns network:PATH)")
		}
		if err := s.runSandbox(ctx, t, config); err != nil {
			return err
		}
	}
	return s.createGuest(ctx, t, r, config)
}

// undo removes what was made of a task that could not be made whole.
func (s *Service) undo(t *task) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), undoTime)
	defer cancel()
	if err := s.discard(ctx, t); err != nil {
		s.cfg.Logger.Warn("leftovers of a task that could not be made", "task", t.id, "error", err)
	}
	s.mu.Lock()
	delete(s.building, t.id)
	s.mu.Unlock()
}

// discard removes what a task has in the runtime and on this side.
func (s *Service) discard(ctx context.Context, t *task) error {
	var errs []error
	if t.guestID != "" {
		_, err := s.cfg.Runtime.RemoveContainer(ctx, &runtimev1.RemoveContainerRequest{ContainerId: t.guestID})
		errs = append(errs, err)
	}
	if t.kind != bundle.Member && t.podID != "" {
		_, err := s.cfg.Runtime.RemovePodSandbox(ctx, &runtimev1.RemovePodSandboxRequest{PodSandboxId: t.podID})
		errs = append(errs, err)
	}
	if t.relay != nil {
		errs = append(errs, t.relay.Close())
	}
	if t.module != "" {
		s.modules.release(t.module)
		t.module = ""
	}
	return errors.Join(errs...)
}

// outputDir is where the pipe of a task's output is.
func (s *Service) outputDir(t *task) string { return filepath.Join(s.cfg.Dir, t.id) }
