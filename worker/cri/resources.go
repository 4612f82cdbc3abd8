package cri

import (
	"context"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// UpdateContainerResources changes the bounds of a container that runs; what is zero stays as it is.
func (c *Client) UpdateContainerResources(ctx context.Context, id string, r *runtimev1.LinuxContainerResources) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	_, err := c.rt.UpdateContainerResources(ctx, &runtimev1.UpdateContainerResourcesRequest{ContainerId: id, Linux: r})
	return wrap("update container resources", err)
}
