package runtimes

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

// CreateContainer makes a container in a sandbox, in the runtime of its kind.
func (s *Set) CreateContainer(ctx context.Context, sandboxID string, config *runtimev1.ContainerConfig, sandbox *runtimev1.PodSandboxConfig) (string, error) {
	m, inner, err := s.named(sandboxID)
	if err != nil {
		return "", err
	}
	if m == s.oci && Kind(config.GetAnnotations()[AnnotationKind]) == KindWasm {
		others, err := s.beside(ctx, inner)
		if err != nil {
			return "", err
		}
		if len(others) == 0 {
			return "", fmt.Errorf("create container: the pod's sandbox takes no Wasm modules")
		}
		config = proto.CloneOf(config)
		config.Labels = with(config.GetLabels(), labelBeside, inner)
		m, inner = s.wasm, others[0].GetId()
	}
	if m == s.wasm && config.GetImage().GetRuntimeHandler() != "" {
		config = proto.CloneOf(config)
		config.Image.RuntimeHandler = "" // it knows no other
	}
	id, err := m.Client.CreateContainer(ctx, inner, config, sandbox)
	if err != nil {
		return "", err
	}
	return join(m.Name, id), nil
}

// StartContainer starts a created container.
func (s *Set) StartContainer(ctx context.Context, id string) error {
	m, inner, err := s.named(id)
	if err != nil {
		return err
	}
	return m.Client.StartContainer(ctx, inner)
}

// StopContainer asks the container to end and kills it after grace.
func (s *Set) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	m, inner, err := s.named(id)
	if cri.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.Client.StopContainer(ctx, inner, grace)
}

// RemoveContainer removes a container.
func (s *Set) RemoveContainer(ctx context.Context, id string) error {
	m, inner, err := s.named(id)
	if cri.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.Client.RemoveContainer(ctx, inner)
}

// ContainerStatus tells of one container; verbose asks for the runtime's own info too.
func (s *Set) ContainerStatus(ctx context.Context, id string, verbose bool) (*runtimev1.ContainerStatus, map[string]string, error) {
	m, inner, err := s.named(id)
	if err != nil {
		return nil, nil, err
	}
	status, info, err := m.Client.ContainerStatus(ctx, inner, verbose)
	if err != nil {
		return nil, nil, err
	}
	status.Id = id
	return status, info, nil
}

// ExecSync runs a command in a container and waits for its end.
func (s *Set) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (cri.ExecResult, error) {
	m, inner, err := s.named(id)
	if err != nil {
		return cri.ExecResult{}, err
	}
	return m.Client.ExecSync(ctx, inner, command, timeout)
}

// Exec prepares the streams of a further command in a running container.
func (s *Set) Exec(ctx context.Context, r *runtimev1.ExecRequest) (cri.Stream, error) {
	m, inner, err := s.named(r.GetContainerId())
	if err != nil {
		return cri.Stream{}, err
	}
	r = proto.CloneOf(r)
	r.ContainerId = inner
	return m.Client.Exec(ctx, r)
}

// Attach prepares the streams of a running container's own process.
func (s *Set) Attach(ctx context.Context, r *runtimev1.AttachRequest) (cri.Stream, error) {
	m, inner, err := s.named(r.GetContainerId())
	if err != nil {
		return cri.Stream{}, err
	}
	r = proto.CloneOf(r)
	r.ContainerId = inner
	return m.Client.Attach(ctx, r)
}

// UpdateContainerResources changes the bounds of a container that runs.
func (s *Set) UpdateContainerResources(ctx context.Context, id string, r *runtimev1.LinuxContainerResources) error {
	m, inner, err := s.named(id)
	if err != nil {
		return err
	}
	return m.Client.UpdateContainerResources(ctx, inner, r)
}

// ReopenContainerLog has the runtime write the container's log into its path anew, once somebody has moved it away.
func (s *Set) ReopenContainerLog(ctx context.Context, id string) error {
	m, inner, err := s.named(id)
	if err != nil {
		return err
	}
	return m.Client.ReopenContainerLog(ctx, inner)
}
