package cri

import (
	"context"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// RunPodSandbox makes a pod's sandbox and returns its ID. An empty handler is the runtime's default.
func (c *Client) RunPodSandbox(ctx context.Context, config *runtimev1.PodSandboxConfig, handler string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	answer, err := c.rt.RunPodSandbox(ctx, &runtimev1.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		return "", wrap("run pod sandbox", err)
	}
	return answer.GetPodSandboxId(), nil
}

// StopPodSandbox stops what runs in the sandbox and frees its address.
func (c *Client) StopPodSandbox(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	_, err := c.rt.StopPodSandbox(ctx, &runtimev1.StopPodSandboxRequest{PodSandboxId: id})
	return wrap("stop pod sandbox", ignoreNotFound(err))
}

// RemovePodSandbox removes the sandbox with its containers.
func (c *Client) RemovePodSandbox(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	_, err := c.rt.RemovePodSandbox(ctx, &runtimev1.RemovePodSandboxRequest{PodSandboxId: id})
	return wrap("remove pod sandbox", ignoreNotFound(err))
}

// PodSandboxStatus tells of one sandbox.
func (c *Client) PodSandboxStatus(ctx context.Context, id string) (*runtimev1.PodSandboxStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.PodSandboxStatus(ctx, &runtimev1.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		return nil, wrap("ask pod sandbox status", err)
	}
	return answer.GetStatus(), nil
}

// ListPodSandbox lists the sandboxes that the filter lets through; nil lets all through.
func (c *Client) ListPodSandbox(ctx context.Context, filter *runtimev1.PodSandboxFilter) ([]*runtimev1.PodSandbox, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.ListPodSandbox(ctx, &runtimev1.ListPodSandboxRequest{Filter: filter})
	if err != nil {
		return nil, wrap("list pod sandboxes", err)
	}
	return answer.GetItems(), nil
}
