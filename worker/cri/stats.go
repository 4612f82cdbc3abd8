package cri

import (
	"context"
	"errors"
	"io"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// EachContainerStats tells what every running container takes, one after the other. A runtime that can streams them, so
// that those of ten thousand containers are never held at a time.
func (c *Client) EachContainerStats(ctx context.Context, filter *runtimev1.ContainerStatsFilter, handle func(*runtimev1.ContainerStats)) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	streamed, err := c.streamStats(ctx, filter, handle)
	if streamed || !IsUnimplemented(err) {
		return wrap("stream container stats", err)
	}
	answer, err := c.rt.ListContainerStats(ctx, &runtimev1.ListContainerStatsRequest{Filter: filter})
	if err != nil {
		return wrap("list container stats", err)
	}
	for _, s := range answer.GetStats() {
		handle(s)
	}
	return nil
}

// streamStats reports whether the stream gave anything, after which there is no other way to ask.
func (c *Client) streamStats(ctx context.Context, filter *runtimev1.ContainerStatsFilter, handle func(*runtimev1.ContainerStats)) (begun bool, err error) {
	stream, err := c.rt.StreamContainerStats(ctx, &runtimev1.StreamContainerStatsRequest{Filter: filter})
	if err != nil {
		return false, err
	}
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return begun, err
		}
		begun = true
		for _, s := range page.GetContainerStats() {
			handle(s)
		}
	}
}

// ListPodSandboxStats tells what sandboxes take beyond their containers: what went over their networks above all.
func (c *Client) ListPodSandboxStats(ctx context.Context, filter *runtimev1.PodSandboxStatsFilter) ([]*runtimev1.PodSandboxStats, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.ListPodSandboxStats(ctx, &runtimev1.ListPodSandboxStatsRequest{Filter: filter})
	if err != nil {
		return nil, wrap("list sandbox stats", err)
	}
	return answer.GetStats(), nil
}

// ImageFsInfo tells what images take on disk, and where they are.
func (c *Client) ImageFsInfo(ctx context.Context) (*runtimev1.ImageFsInfoResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.images.ImageFsInfo(ctx, &runtimev1.ImageFsInfoRequest{})
	if err != nil {
		return nil, wrap("ask image disk", err)
	}
	return answer, nil
}
