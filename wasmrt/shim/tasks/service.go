package tasks

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/shim/bundle"
)

// Runtime is what is asked of the Wasm runtime: the CRI's clients are it.
type Runtime interface {
	RunPodSandbox(context.Context, *runtimev1.RunPodSandboxRequest, ...grpc.CallOption) (*runtimev1.RunPodSandboxResponse, error)
	StopPodSandbox(context.Context, *runtimev1.StopPodSandboxRequest, ...grpc.CallOption) (*runtimev1.StopPodSandboxResponse, error)
	RemovePodSandbox(context.Context, *runtimev1.RemovePodSandboxRequest, ...grpc.CallOption) (*runtimev1.RemovePodSandboxResponse, error)
	PodSandboxStatus(context.Context, *runtimev1.PodSandboxStatusRequest, ...grpc.CallOption) (*runtimev1.PodSandboxStatusResponse, error)
	ListPodSandbox(context.Context, *runtimev1.ListPodSandboxRequest, ...grpc.CallOption) (*runtimev1.ListPodSandboxResponse, error)
	CreateContainer(context.Context, *runtimev1.CreateContainerRequest, ...grpc.CallOption) (*runtimev1.CreateContainerResponse, error)
	StartContainer(context.Context, *runtimev1.StartContainerRequest, ...grpc.CallOption) (*runtimev1.StartContainerResponse, error)
	StopContainer(context.Context, *runtimev1.StopContainerRequest, ...grpc.CallOption) (*runtimev1.StopContainerResponse, error)
	RemoveContainer(context.Context, *runtimev1.RemoveContainerRequest, ...grpc.CallOption) (*runtimev1.RemoveContainerResponse, error)
	ContainerStatus(context.Context, *runtimev1.ContainerStatusRequest, ...grpc.CallOption) (*runtimev1.ContainerStatusResponse, error)
	ContainerStats(context.Context, *runtimev1.ContainerStatsRequest, ...grpc.CallOption) (*runtimev1.ContainerStatsResponse, error)
	ListContainers(context.Context, *runtimev1.ListContainersRequest, ...grpc.CallOption) (*runtimev1.ListContainersResponse, error)
	ExecSync(context.Context, *runtimev1.ExecSyncRequest, ...grpc.CallOption) (*runtimev1.ExecSyncResponse, error)
	UpdateContainerResources(context.Context, *runtimev1.UpdateContainerResourcesRequest, ...grpc.CallOption) (*runtimev1.UpdateContainerResourcesResponse, error)
}

// Images is what is asked of its image store.
type Images interface {
	ImageStatus(context.Context, *runtimev1.ImageStatusRequest, ...grpc.CallOption) (*runtimev1.ImageStatusResponse, error)
	PullImage(context.Context, *runtimev1.PullImageRequest, ...grpc.CallOption) (*runtimev1.PullImageResponse, error)
	ListImages(context.Context, *runtimev1.ListImagesRequest, ...grpc.CallOption) (*runtimev1.ListImagesResponse, error)
	RemoveImage(context.Context, *runtimev1.RemoveImageRequest, ...grpc.CallOption) (*runtimev1.RemoveImageResponse, error)
}

// Artifacts finds the module of a container whose image has no root file system: one that is an artifact.
type Artifacts interface {
	// Open answers the module of the container with containerd's id.
	Open(ctx context.Context, id string) (*os.File, error)
}

// Config is what a Service needs.
type Config struct {
	Runtime   Runtime
	Images    Images
	Artifacts Artifacts
	// Publish tells containerd of an event.
	Publish func(topic string, event proto.Message)
	// Owner marks what is made in the runtime as this service's; Namespace is containerd's.
	Owner, Namespace string
	// Dir is where the pipes of containers' output are made.
	Dir    string
	Logger *slog.Logger
	Now    func() time.Time
}

// Validate names what is missing.
func (c *Config) Validate() error {
	if c.Runtime == nil || c.Images == nil || c.Artifacts == nil || c.Publish == nil || c.Logger == nil || c.Now == nil {
		return errors.New("tasks: Runtime, Images, Artifacts, Publish, Logger and Now are required")
	}
	if c.Owner == "" || c.Namespace == "" || c.Dir == "" {
		return errors.New("tasks: Owner, Namespace and Dir are required")
	}
	return nil
}

// Service is containerd's task service. It is safe for concurrent use.
type Service struct {
	cfg     Config
	modules *modules
	pid     uint32

	// ctx is that of what outlives the call that began it; wg counts it.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	tasks    map[string]*task // by containerd's id
	building map[string]bool  // ids of tasks that are being made
	attempts uint32           // makes names of containers in a sandbox different
}

// New returns a service without tasks. It does no I/O. Close ends what it does in the background.
func New(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, modules: newModules(cfg.Images, cfg.Runtime, cfg.Now), pid: uint32(os.Getpid()), tasks: map[string]*task{}, building: map[string]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close ends what runs in the background. Guests go on.
func (s *Service) Close() {
	s.cancel()
	s.wg.Wait()
}

// Len is the number of tasks.
func (s *Service) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tasks)
}

// find answers the task of an id.
func (s *Service) find(id string) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tasks[id]; t != nil {
		return t, nil
	}
	return nil, status.Errorf(codes.NotFound, "task %s: not found", id)
}

// all answers every task.
func (s *Service) all() []*task {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*task, 0, len(s.tasks))
	for _, t := range s.tasks {
		list = append(list, t)
	}
	return list
}

// states are containerd's words.
var states = map[phase]tasktypes.Status{
	phaseCreated: tasktypes.Status_CREATED, phaseRunning: tasktypes.Status_RUNNING, phaseStopped: tasktypes.Status_STOPPED,
}

// members answers the tasks of containers in a sandbox's.
func (s *Service) members(sandbox *task) []*task {
	var list []*task
	for _, t := range s.all() {
		if t.kind == bundle.Member && t.sandbox == sandbox {
			list = append(list, t)
		}
	}
	return list
}
