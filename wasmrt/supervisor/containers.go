package supervisor

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// CreateContainer makes a container in a sandbox that is ready, of an image that is there.
func (s *Supervisor) CreateContainer(ctx context.Context, r *runtimev1.CreateContainerRequest) (*runtimev1.CreateContainerResponse, error) {
	b, err := s.findSandbox(r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	config := r.GetConfig()
	if config.GetMetadata().GetName() == "" || config.GetImage().GetImage() == "" {
		return nil, status.Error(codes.InvalidArgument, "container config: metadata with a name and an image are required")
	}
	img, err := s.images.Get(config.GetImage().GetImage())
	if err != nil {
		return nil, grpcError(err)
	}
	defer s.steady(b.record.Namespace)()
	s.mu.RLock()
	sandboxID, address, runner, ready := b.record.ID, b.record.Address, b.runner, b.record.Ready
	s.mu.RUnlock()
	if !ready {
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox %s is not ready: it takes no more containers", sandboxID)
	}
	id := newID()
	params, err := s.containerParams(b, config, img)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	params.ID, params.SandboxID, params.Address, params.Elsewhere = id, sandboxID, address, b.apart
	name := containerName(sandboxID, config.GetMetadata())
	s.mu.Lock()
	err = s.reserve(name, id)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	c, err := newContainer(b, config, params)
	if err != nil {
		s.mu.Lock()
		delete(s.names, name)
		s.mu.Unlock()
		return nil, grpcError(err)
	}
	c.record.ImageID, c.record.ImageRef = img.ID, img.ID
	if len(img.RepoDigests) > 0 {
		c.record.ImageRef = img.RepoDigests[0]
	}
	err = s.bindMounts(params, runner.User())
	if err == nil {
		err = s.admit(ctx, runner, c, params)
	}
	if err != nil {
		s.unbind(sandboxID, id)
		s.mu.Lock()
		delete(s.names, name)
		s.mu.Unlock()
		return nil, grpcError(err)
	}
	s.announce(b, id, runtimev1.ContainerEventType_CONTAINER_CREATED_EVENT)
	return &runtimev1.CreateContainerResponse{ContainerId: id}, nil
}

func newContainer(b *sandbox, config *runtimev1.ContainerConfig, p *control.CreateParams) (*container, error) {
	kept := proto.CloneOf(config)
	kept.Envs, kept.Command, kept.Args = nil, nil, nil // may hold secrets, and nobody needs them again
	small, err := pack(kept)
	return &container{sandbox: b, config: small, exited: make(chan struct{}), record: state.Container{
		ID: p.ID, SandboxID: p.SandboxID, Module: p.Digest, LogPath: p.LogPath,
	}}, err
}

// admit has the runner make the container, and makes it known.
func (s *Supervisor) admit(ctx context.Context, runner *fleet.Runner, c *container, p *control.CreateParams) error {
	s.setCreating(p.ID, true)
	defer s.setCreating(p.ID, false)
	if err := s.make(ctx, runner, p, &c.record.Status); err != nil {
		return err
	}
	c.record.Status.ID, c.record.Status.SandboxID = p.ID, p.SandboxID
	share(&c.record.Status)
	if micros, ok := s.fresh.claim(p.Digest); ok {
		// The pull compiled it for whoever comes first; what the runner did is only to load it.
		c.record.Status.CompileMicros, c.record.Status.CompileCached = micros+c.record.Status.CompileMicros, false
	}
	c.saving.Lock()
	defer c.saving.Unlock()
	s.mu.Lock()
	ready := c.sandbox.record.Ready
	if ready {
		s.containers[p.ID] = c
		s.pods.addContainer(c)
		c.sandbox.containers[p.ID] = c
	}
	record := c.record
	s.mu.Unlock()
	if !ready {
		s.abandon(runner, p.ID)
		return status.Errorf(codes.FailedPrecondition, "sandbox %s was stopped meanwhile", p.SandboxID)
	}
	s.saveContainer(c, record)
	return nil
}

// make has the runner make the container, with its module compiled.
func (s *Supervisor) make(ctx context.Context, runner *fleet.Runner, p *control.CreateParams, into *control.Status) error {
	err := s.createIn(ctx, runner, p, into)
	if notCompiled(err) {
		// The cache was emptied, or refused what was tampered with. Runners cannot fill it.
		if err = s.compile(ctx, p); err == nil {
			err = s.createIn(ctx, runner, p, into)
		}
	}
	return err
}

// createIn has the runner make the container. When nobody waited for the answer, it is undone.
func (s *Supervisor) createIn(ctx context.Context, runner *fleet.Runner, p *control.CreateParams, into *control.Status) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := runner.Call(ctx, control.MethodCreate, p, into)
	if err != nil && ctx.Err() != nil { // it may have made it
		s.abandon(runner, p.ID)
	}
	return err
}

func notCompiled(err error) bool {
	var e *control.Error
	return errors.As(err, &e) && e.Code == control.CodeNotCompiled
}

// compile fills the cache anew with a module's machine code. Whoever needs it meanwhile waits for the same.
func (s *Supervisor) compile(ctx context.Context, p *control.CreateParams) error {
	s.cfg.Logger.Info("module is compiled again: the cache has no code of it that can be used", "digest", p.Digest)
	_, err, _ := s.compiling.Do(p.Digest, func() (any, error) {
		return s.cfg.Compiler.Compile(context.WithoutCancel(ctx), p.ModulePath, p.Digest)
	})
	return err
}

func (s *Supervisor) setCreating(id string, creating bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if creating {
		s.creating[id] = true
	} else {
		delete(s.creating, id)
	}
}

// abandon removes from the runner what nobody will ask for. Should it fail, the next supervisor finds and removes it.
func (s *Supervisor) abandon(runner *fleet.Runner, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), settle)
	defer cancel()
	if err := runner.Call(ctx, control.MethodRemove, control.Target{ID: id}, nil); err != nil {
		s.cfg.Logger.Warn("container not removed from its runner", "container", id, "error", err)
	}
}

// StartContainer starts a created container.
func (s *Supervisor) StartContainer(ctx context.Context, r *runtimev1.StartContainerRequest) (*runtimev1.StartContainerResponse, error) {
	c, err := s.findContainer(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	defer s.steady(c.sandbox.record.Namespace)()
	c.op.Lock()
	defer c.op.Unlock()
	s.mu.RLock()
	id, now, ready, runner := c.record.ID, c.record.Status.State, c.sandbox.record.Ready, c.sandbox.runner
	s.mu.RUnlock()
	if now != control.StateCreated {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s is %s: only a created one can be started", id, now)
	}
	if !ready {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s cannot be started: its sandbox is not ready", id)
	}
	if err := makeLog(c.record.LogPath, runner); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	start := control.StartParams{ID: id, Shared: s.steering.on.Load() && !c.sandbox.apart}
	listeners, err := s.equip(ctx, c, runner)
	if err != nil {
		start.Refused = err.Error() // it exits for this reason
	}
	defer control.CloseFiles(listeners)
	start.Listeners = len(listeners)
	var news control.StartResult
	files, err := runner.Exchange(ctx, control.MethodStart, start, listeners, &news)
	if err != nil {
		var e *control.Error
		if errors.As(err, &e) && e.Code == control.CodeStart {
			await(ctx, c.exited) // whoever sees the error sees the exit, too
		}
		return nil, grpcError(err)
	}
	defer control.CloseFiles(files)
	s.apply(c, news.Status)
	if err := s.steering.listen(ctx, c, runner, &news.Shared, files); err != nil {
		s.steering.leave(c)
		return nil, grpcError(errors.Join(err, s.end(ctx, c, runner, 0)))
	}
	return &runtimev1.StartContainerResponse{}, nil
}

// StopContainer ends a container: an HTTP guest stops listening and finishes its requests within the timeout; a command,
// which no signal can reach, may end by itself until then. What is left is killed.
func (s *Supervisor) StopContainer(ctx context.Context, r *runtimev1.StopContainerRequest) (*runtimev1.StopContainerResponse, error) {
	c, err := s.findContainer(r.GetContainerId())
	if status.Code(err) == codes.NotFound {
		return &runtimev1.StopContainerResponse{}, nil
	}
	grace := time.Duration(max(0, min(r.GetTimeout(), int64(time.Hour/time.Second)*24*365))) * time.Second
	return &runtimev1.StopContainerResponse{}, grpcError(s.stopContainer(ctx, c, grace))
}

func (s *Supervisor) stopContainer(ctx context.Context, c *container, grace time.Duration) error {
	if s.snapshot(c).Status.State == control.StateCreated {
		c.awaitStart() // what it makes run is to be stopped
	}
	defer s.steady(c.sandbox.record.Namespace)()
	s.mu.RLock()
	now, runner := c.record.Status.State, c.sandbox.runner
	s.mu.RUnlock()
	if now != control.StateRunning {
		return nil
	}
	s.steering.leave(c) // nobody is to come to who is about to go
	return s.end(ctx, c, runner, grace)
}

// end has the runner stop a container.
func (s *Supervisor) end(ctx context.Context, c *container, runner *fleet.Runner, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace+stopSlack)
	defer cancel()
	var news control.Status
	err := runner.Call(ctx, control.MethodStop, control.StopParams{ID: c.record.ID, Grace: grace}, &news)
	var e *control.Error
	switch {
	case err == nil:
		s.apply(c, news)
		return nil
	case errors.Is(err, control.ErrClosed):
		// The runner died, or is connected to again: then what became of the container is asked.
		await(ctx, c.exited)
		if s.snapshot(c).Status.State == control.StateExited {
			return nil
		}
	case errors.As(err, &e) && e.Code == control.CodeNotFound:
		s.apply(c, died(s.snapshot(c).Status, "the runner does not know it", s.cfg.Now()))
		return nil
	}
	return err
}

// awaitStart returns when no start is under way.
func (c *container) awaitStart() {
	c.op.Lock()
	defer c.op.Unlock()
}

// await waits a little for what must happen at once.
func await(ctx context.Context, c <-chan struct{}) {
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// RemoveContainer ends and forgets a container.
func (s *Supervisor) RemoveContainer(ctx context.Context, r *runtimev1.RemoveContainerRequest) (*runtimev1.RemoveContainerResponse, error) {
	c, err := s.findContainer(r.GetContainerId())
	if status.Code(err) == codes.NotFound {
		return &runtimev1.RemoveContainerResponse{}, nil
	}
	return &runtimev1.RemoveContainerResponse{}, grpcError(s.removeContainer(ctx, c))
}

func (s *Supervisor) removeContainer(ctx context.Context, c *container) error {
	if err := s.stopContainer(ctx, c, 0); err != nil {
		return err
	}
	defer s.steady(c.sandbox.record.Namespace)()
	c.op.Lock()
	defer c.op.Unlock()
	s.mu.RLock()
	id, sandboxID, runner := c.record.ID, c.record.SandboxID, c.sandbox.runner
	s.mu.RUnlock()
	if runner != nil && runner.Alive() {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		err := runner.Call(ctx, control.MethodRemove, control.Target{ID: id}, nil)
		if err != nil && !errors.Is(err, control.ErrClosed) { // a dead runner holds nothing
			return err
		}
	}
	s.unbind(sandboxID, id)
	c.saving.Lock()
	known := !c.removed
	c.removed = true
	err := s.store.RemoveContainer(sandboxID, id)
	c.saving.Unlock()
	if !known {
		return nil
	}
	s.mu.Lock()
	delete(s.containers, id)
	s.pods.dropContainer(c)
	delete(c.sandbox.containers, id)
	delete(s.names, containerName(sandboxID, c.config.containerConfig().GetMetadata()))
	s.mu.Unlock()
	s.announce(c.sandbox, id, runtimev1.ContainerEventType_CONTAINER_DELETED_EVENT)
	return err
}

// died is the status of a container that ended without anybody to tell how.
func died(last control.Status, message string, now time.Time) control.Status {
	last.State, last.FinishedAt = control.StateExited, now.UnixNano()
	last.ExitCode, last.Reason, last.Message = control.ExitKilled, control.ReasonError, message
	return last
}
