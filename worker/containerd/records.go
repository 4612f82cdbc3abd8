package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	containers "github.com/containerd/containerd/api/services/containers/v1"
	sandboxes "github.com/containerd/containerd/api/services/sandbox/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// maxSandboxes bounds the list of sandboxes, which comes as one message: some kilobytes for each.
const maxSandboxes = 64 << 20

// records are what containerd knows, below the CRI. A record is written before anything is made for it, and goes last.
type records struct {
	ids map[string]bool
	// named are those of the texts asked for that a record has somewhere.
	named map[string]bool
}

// records reads all of them, and looks for texts in them.
func (c *Client) records(ctx context.Context, texts []string) (records, error) {
	ctx, cancel := context.WithTimeout(inNamespace(ctx), callTimeout)
	defer cancel()
	out := records{map[string]bool{}, map[string]bool{}}
	err := c.eachContainer(ctx, func(one *containers.Container) { out.add(one.GetID(), one.GetSpec(), one.GetExtensions(), texts) })
	if err != nil {
		return out, err
	}
	answer, err := sandboxes.NewStoreClient(c.conn).List(ctx, &sandboxes.StoreListRequest{}, grpc.MaxCallRecvMsgSize(maxSandboxes))
	if status.Code(err) == codes.Unimplemented { // version 1.6 has containers alone
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("list sandboxes: %w", err)
	}
	for _, one := range answer.GetList() {
		out.add(one.GetSandboxID(), one.GetSpec(), one.GetExtensions(), texts)
	}
	return out, nil
}

func (c *Client) eachContainer(ctx context.Context, visit func(*containers.Container)) error {
	stream, err := containers.NewContainersClient(c.conn).ListStream(ctx, &containers.ListContainersRequest{})
	for err == nil {
		var one *containers.ListContainerMessage
		if one, err = stream.Recv(); err == nil {
			visit(one.GetContainer())
		}
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("list containers: %w", err)
	}
	return nil
}

func (r *records) add(id string, spec *anypb.Any, extensions map[string]*anypb.Any, texts []string) {
	r.ids[id] = true
	for _, text := range texts {
		if r.named[text] {
			continue
		}
		found := bytes.Contains(spec.GetValue(), []byte(text))
		for _, e := range extensions {
			found = found || bytes.Contains(e.GetValue(), []byte(text))
		}
		if found {
			r.named[text] = true
		}
	}
}
