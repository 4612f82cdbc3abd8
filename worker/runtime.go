package worker

import (
	"context"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

// Runtime is what the worker needs of the node's runtimes. worker/runtimes is it over the CRI: IDs say whose they are.
type Runtime interface {
	UpdatePodCIDR(ctx context.Context, cidr string) error

	RunPodSandbox(ctx context.Context, config *runtimev1.PodSandboxConfig, handler string) (string, error)
	StopPodSandbox(ctx context.Context, id string) error
	RemovePodSandbox(ctx context.Context, id string) error
	PodSandboxStatus(ctx context.Context, id string) (*runtimev1.PodSandboxStatus, error)
	ListPodSandbox(ctx context.Context, filter *runtimev1.PodSandboxFilter) ([]*runtimev1.PodSandbox, error)

	CreateContainer(ctx context.Context, sandboxID string, config *runtimev1.ContainerConfig, sandbox *runtimev1.PodSandboxConfig) (string, error)
	StartContainer(ctx context.Context, id string) error
	StopContainer(ctx context.Context, id string, grace time.Duration) error
	RemoveContainer(ctx context.Context, id string) error
	ListContainers(ctx context.Context, filter *runtimev1.ContainerFilter) ([]*runtimev1.Container, error)
	// ExecSync runs a command in a container and waits for its end.
	ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (cri.ExecResult, error)
	// UpdateContainerResources changes the bounds of a running container; what is zero stays as it is.
	UpdateContainerResources(ctx context.Context, id string, r *runtimev1.LinuxContainerResources) error
	// ReopenContainerLog has a running container write to a new file, after its log was moved away.
	ReopenContainerLog(ctx context.Context, id string) error
	ContainerStatus(ctx context.Context, id string, verbose bool) (*runtimev1.ContainerStatus, map[string]string, error)

	Streams

	ImageStatus(ctx context.Context, image *runtimev1.ImageSpec) (*runtimev1.Image, error)
	PullImage(ctx context.Context, image *runtimev1.ImageSpec, auth *runtimev1.AuthConfig, sandbox *runtimev1.PodSandboxConfig) (string, error)
	// PullProgress tells how far a pull is, where the runtime knows.
	PullProgress(ctx context.Context, image *runtimev1.ImageSpec) (cri.PullProgress, bool)
}
