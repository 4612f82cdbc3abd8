package crifake

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

type container struct {
	rt        *Runtime
	id        string
	sandboxID string
	config    *runtimev1.ContainerConfig
	imageRef  string
	logPath   string
	program   Program
	ports     []int
	ip        string

	ask  chan struct{} // closed when the container is asked to end
	die  chan struct{} // closed when it is killed
	done chan struct{} // closed when it has ended
	once sync.Once
	dead sync.Once

	// guarded by rt.mu
	state                    runtimev1.ContainerState
	created, started, finish time.Time
	exitCode                 int32
	reason                   string
	killedCode               int32
	killedReason             string
	out                      *logFile
}

func (c *container) running() bool { return c.state == runtimev1.ContainerState_CONTAINER_RUNNING }

func (s *service) CreateContainer(_ context.Context, req *runtimev1.CreateContainerRequest) (*runtimev1.CreateContainerResponse, error) {
	config := req.GetConfig()
	if config.GetMetadata().GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "container metadata needs a name")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.sandboxes[req.GetPodSandboxId()]
	switch {
	case b == nil:
		return nil, status.Errorf(codes.NotFound, "sandbox %q not found", req.GetPodSandboxId())
	case b.state == runtimeNotReady:
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox %q is not ready", b.id)
	}
	image := config.GetImage().GetImage()
	if !s.pulled[image] {
		return nil, status.Errorf(codes.NotFound, "image %q not found", image)
	}
	for _, m := range config.GetMounts() {
		if _, err := os.Stat(m.GetHostPath()); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "mount %s: %v", m.GetContainerPath(), err)
		}
	}
	c := &container{
		rt: s.Runtime, id: newID(), sandboxID: b.id, config: config, imageRef: imageRef(image), program: s.programs[image],
		ip: b.ip(), created: time.Now(), ask: make(chan struct{}), die: make(chan struct{}), done: make(chan struct{}),
	}
	for _, p := range b.config.GetPortMappings() {
		c.ports = append(c.ports, int(p.GetContainerPort()))
	}
	if b.config.GetLogDirectory() != "" && config.GetLogPath() != "" {
		c.logPath = filepath.Join(b.config.GetLogDirectory(), config.GetLogPath())
	}
	s.containers[c.id] = c
	s.tell(c, runtimev1.ContainerEventType_CONTAINER_CREATED_EVENT)
	return &runtimev1.CreateContainerResponse{ContainerId: c.id}, nil
}

func (s *service) StartContainer(_ context.Context, req *runtimev1.StartContainerRequest) (*runtimev1.StartContainerResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[req.GetContainerId()]
	if c == nil {
		return nil, status.Errorf(codes.NotFound, "container %q not found", req.GetContainerId())
	}
	if c.state != runtimev1.ContainerState_CONTAINER_CREATED {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q is %s", c.id, c.state)
	}
	out, err := openLog(c.logPath)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "open log: %v", err)
	}
	c.state, c.started, c.out = runtimev1.ContainerState_CONTAINER_RUNNING, time.Now(), out
	s.tell(c, runtimev1.ContainerEventType_CONTAINER_STARTED_EVENT)
	go c.run(out)
	return &runtimev1.StartContainerResponse{}, nil
}

// run is the container's life. A killed container's goroutine may outlive it for a moment; its writes go nowhere.
func (c *container) run(out *logFile) {
	ended := make(chan int32, 1)
	go func() { ended <- c.program(c.process(out)) }()
	var code int32
	reason := ""
	select {
	case code = <-ended:
	case <-c.die:
		c.rt.mu.Lock()
		code, reason = c.killedCode, c.killedReason
		c.rt.mu.Unlock()
	}
	out.close()
	c.rt.mu.Lock()
	defer c.rt.mu.Unlock()
	if reason == "" && code == 0 {
		reason = "Completed"
	} else if reason == "" {
		reason = "Error"
	}
	c.state, c.finish, c.exitCode, c.reason = runtimev1.ContainerState_CONTAINER_EXITED, time.Now(), code, reason
	close(c.done)
	c.rt.tell(c, runtimev1.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

// kill ends the container at once.
func (c *container) kill(code int32, reason string) {
	c.dead.Do(func() {
		c.rt.mu.Lock()
		c.killedCode, c.killedReason = code, reason
		c.rt.mu.Unlock()
		c.once.Do(func() { close(c.ask) })
		close(c.die)
	})
}

// stop asks the container to end, kills it after grace and waits for its end.
func (c *container) stop(grace time.Duration) {
	c.rt.mu.Lock()
	running := c.running()
	c.rt.mu.Unlock()
	if !running {
		return
	}
	if grace > 0 {
		c.once.Do(func() { close(c.ask) })
		select {
		case <-c.done:
			return
		case <-time.After(grace):
		}
	}
	c.kill(137, "")
	<-c.done
}

func (s *service) StopContainer(_ context.Context, req *runtimev1.StopContainerRequest) (*runtimev1.StopContainerResponse, error) {
	s.mu.Lock()
	c := s.containers[req.GetContainerId()]
	s.mu.Unlock()
	if c != nil {
		c.stop(time.Duration(req.GetTimeout()) * time.Second)
	}
	return &runtimev1.StopContainerResponse{}, nil
}

func (s *service) RemoveContainer(_ context.Context, req *runtimev1.RemoveContainerRequest) (*runtimev1.RemoveContainerResponse, error) {
	s.mu.Lock()
	c := s.containers[req.GetContainerId()]
	s.mu.Unlock()
	if c == nil {
		return &runtimev1.RemoveContainerResponse{}, nil
	}
	c.stop(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, c.id)
	s.tell(c, runtimev1.ContainerEventType_CONTAINER_DELETED_EVENT)
	return &runtimev1.RemoveContainerResponse{}, nil
}

func (s *service) ListContainers(_ context.Context, req *runtimev1.ListContainersRequest) (*runtimev1.ListContainersResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := req.GetFilter()
	out := &runtimev1.ListContainersResponse{}
	for _, c := range s.containers {
		if !strings.HasPrefix(c.id, f.GetId()) || !selects(f.GetLabelSelector(), c.config.GetLabels()) {
			continue
		}
		if f.GetState() != nil && f.GetState().GetState() != c.state {
			continue
		}
		if f.GetPodSandboxId() != "" && f.GetPodSandboxId() != c.sandboxID {
			continue
		}
		out.Containers = append(out.Containers, &runtimev1.Container{
			Id: c.id, PodSandboxId: c.sandboxID, Metadata: c.config.GetMetadata(), Image: c.config.GetImage(), ImageRef: c.imageRef,
			State: c.state, CreatedAt: c.created.UnixNano(), Labels: maps.Clone(c.config.GetLabels()), Annotations: maps.Clone(c.config.GetAnnotations()),
		})
	}
	return out, nil
}

func (s *service) ContainerStatus(_ context.Context, req *runtimev1.ContainerStatusRequest) (*runtimev1.ContainerStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[req.GetContainerId()]
	if c == nil {
		return nil, status.Errorf(codes.NotFound, "container %q not found", req.GetContainerId())
	}
	out := &runtimev1.ContainerStatusResponse{Status: c.status()}
	if req.GetVerbose() {
		kind := "command"
		if len(c.ports) > 0 {
			kind = "reactor"
		}
		out.Info = map[string]string{"petrel": fmt.Sprintf(`{"digest":%q,"kind":%q,"compileMicros":1200,"compileCached":true,"coldStartMicros":340,`+
			`"abi":"command","snapshot":"no_memory","coldStart":{"compileMicros":1200,"cloneP50Micros":2}%s}`, c.imageRef, kind, s.failures[c.id])}
	}
	return out, nil
}

func (c *container) status() *runtimev1.ContainerStatus {
	out := &runtimev1.ContainerStatus{
		Id: c.id, Metadata: c.config.GetMetadata(), State: c.state, CreatedAt: c.created.UnixNano(),
		Image: c.config.GetImage(), ImageRef: c.imageRef, ImageId: c.imageRef, LogPath: c.logPath, Mounts: c.config.GetMounts(),
		Labels: maps.Clone(c.config.GetLabels()), Annotations: maps.Clone(c.config.GetAnnotations()),
	}
	if !c.started.IsZero() {
		out.StartedAt = c.started.UnixNano()
	}
	if c.state == runtimev1.ContainerState_CONTAINER_EXITED {
		out.FinishedAt, out.ExitCode, out.Reason = c.finish.UnixNano(), c.exitCode, c.reason
	}
	return out
}
