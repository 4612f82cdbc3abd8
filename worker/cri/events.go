package cri

import (
	"context"
	"errors"
	"io"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Events hands each container event to handle until the stream or ctx ends. opened is called once the runtime has
// accepted the stream: what changed before it is not in it, so that is the moment to list. A runtime without events
// makes Events return an error that IsUnimplemented knows.
func (c *Client) Events(ctx context.Context, opened func(), handle func(*runtimev1.ContainerEventResponse)) error {
	stream, err := c.rt.GetContainerEvents(ctx, &runtimev1.GetEventsRequest{})
	if err != nil {
		return wrap("open container events", err)
	}
	// A gRPC server may send its headers with the first event only, so their absence cannot be waited for: the caller
	// lists now, and its slow relist covers the moment between.
	opened()
	for {
		event, err := stream.Recv()
		switch {
		case err == nil:
			handle(event)
		case errors.Is(err, io.EOF):
			return wrap("read container events", io.ErrUnexpectedEOF)
		default:
			return wrap("read container events", err)
		}
	}
}
