package containerd

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/containerd/pause"
)

// pauseName is what the sandbox image is called, without its digest. Nobody serves it: it is always brought along.
const pauseName = "petrel.internal/pause"

// Client gives images to a containerd by its socket.
type Client struct {
	conn  *grpc.ClientConn
	store *store
	cri   runtimev1.ImageServiceClient
}

// NewClient prepares a client of the containerd at a socket; it connects with the first call.
func NewClient(socket string) (*Client, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("prepare connection to containerd: %w", err)
	}
	return &Client{conn: conn, store: newStore(conn), cri: runtimev1.NewImageServiceClient(conn)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Import gives containerd an image of one platform under a full name (registry, repository, tag or digest) and returns
// when pods can use it.
func (c *Client) Import(ctx context.Context, name string, image v1.Image) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := c.store.put(ctx, image, name); err != nil {
		return fmt.Errorf("import %s: %w", name, err)
	}
	// The CRI learns of it by an event of containerd's.
	for {
		answer, err := c.cri.ImageStatus(ctx, &runtimev1.ImageStatusRequest{Image: &runtimev1.ImageSpec{Image: name}})
		if err == nil && answer.GetImage() != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("import %s: the CRI does not know it: %w", name, context.Cause(ctx))
		case <-time.After(readyPoll):
		}
	}
}

// PauseImage is the image of sandboxes and its name, which says its digest.
func PauseImage() (name string, image v1.Image, err error) {
	if image, err = pause.Image(); err != nil {
		return "", nil, err
	}
	digest, err := image.Digest()
	if err != nil {
		return "", nil, fmt.Errorf("read pause image: %w", err)
	}
	return pauseName + "@" + digest.String(), image, nil
}

// keepPause gives containerd the sandbox image unless it has it.
func (c *Client) keepPause(ctx context.Context, name string, image v1.Image) error {
	digest, err := image.Digest()
	if err != nil {
		return fmt.Errorf("read pause image: %w", err)
	}
	short, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if has, err := c.store.has(short, name, digest); has || err != nil {
		return err
	}
	return c.Import(ctx, name, image)
}
