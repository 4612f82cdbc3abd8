package cri

import (
	"context"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CreateContainer makes a container in a sandbox and returns its ID. The image has to be there.
func (c *Client) CreateContainer(ctx context.Context, sandboxID string, config *runtimev1.ContainerConfig, sandbox *runtimev1.PodSandboxConfig) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	answer, err := c.rt.CreateContainer(ctx, &runtimev1.CreateContainerRequest{
		PodSandboxId: sandboxID, Config: config, SandboxConfig: sandbox,
	})
	if err != nil {
		return "", wrap("create container", err)
	}
	return answer.GetContainerId(), nil
}

// StartContainer starts a created container.
func (c *Client) StartContainer(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	_, err := c.rt.StartContainer(ctx, &runtimev1.StartContainerRequest{ContainerId: id})
	return wrap("start container", err)
}

// StopContainer asks the container to end and kills it after grace. It blocks until the container has ended.
func (c *Client) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace+stopSlack)
	defer cancel()
	seconds := int64((grace + time.Second - 1) / time.Second) // the CRI counts in seconds: never cut a grace short
	_, err := c.rt.StopContainer(ctx, &runtimev1.StopContainerRequest{ContainerId: id, Timeout: seconds})
	return wrap("stop container", ignoreNotFound(err))
}

// RemoveContainer removes a container, killing it if it runs.
func (c *Client) RemoveContainer(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	_, err := c.rt.RemoveContainer(ctx, &runtimev1.RemoveContainerRequest{ContainerId: id})
	return wrap("remove container", ignoreNotFound(err))
}

// ListContainers lists the containers that the filter lets through; nil lets all through.
func (c *Client) ListContainers(ctx context.Context, filter *runtimev1.ContainerFilter) ([]*runtimev1.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.ListContainers(ctx, &runtimev1.ListContainersRequest{Filter: filter})
	if err != nil {
		return nil, wrap("list containers", err)
	}
	return answer.GetContainers(), nil
}

// ContainerStatus tells of one container; verbose asks for the runtime's own info too.
func (c *Client) ContainerStatus(ctx context.Context, id string, verbose bool) (*runtimev1.ContainerStatus, map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.ContainerStatus(ctx, &runtimev1.ContainerStatusRequest{ContainerId: id, Verbose: verbose})
	if err != nil {
		return nil, nil, wrap("ask container status", err)
	}
	return answer.GetStatus(), answer.GetInfo(), nil
}

// ReopenContainerLog has a running container write to a new file, after its log was moved away.
func (c *Client) ReopenContainerLog(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	_, err := c.rt.ReopenContainerLog(ctx, &runtimev1.ReopenContainerLogRequest{ContainerId: id})
	return wrap("reopen container log", err)
}
