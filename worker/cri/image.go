package cri

import (
	"context"
	"encoding/json"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ImageStatus tells of an image; nil when the runtime does not hold it.
func (c *Client) ImageStatus(ctx context.Context, image *runtimev1.ImageSpec) (*runtimev1.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.images.ImageStatus(ctx, &runtimev1.ImageStatusRequest{Image: image})
	if err = ignoreNotFound(err); err != nil {
		return nil, wrap("ask image status", err)
	}
	return answer.GetImage(), nil
}

// PullImage fetches an image and returns the reference under which the runtime holds it. auth is what the registry is
// shown; nil: nothing.
func (c *Client) PullImage(ctx context.Context, image *runtimev1.ImageSpec, auth *runtimev1.AuthConfig, sandbox *runtimev1.PodSandboxConfig) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	answer, err := c.images.PullImage(ctx, &runtimev1.PullImageRequest{Image: image, Auth: auth, SandboxConfig: sandbox})
	if err != nil {
		return "", wrap("pull image", err)
	}
	return answer.GetImageRef(), nil
}

// PullProgress is how far a pull is, in bytes. total is 0 while it is not known.
type PullProgress struct{ Done, Total int64 }

// PullProgress asks how far the pull of an image is; false where none runs, or the runtime does not tell.
func (c *Client) PullProgress(ctx context.Context, image *runtimev1.ImageSpec) (PullProgress, bool) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.images.ImageStatus(ctx, &runtimev1.ImageStatusRequest{Image: image, Verbose: true})
	if err != nil {
		return PullProgress{}, false
	}
	var info struct {
		BytesDone  int64 `json:"bytesDone"`
		BytesTotal int64 `json:"bytesTotal"`
	}
	told := answer.GetInfo()["pull"]
	if told == "" || json.Unmarshal([]byte(told), &info) != nil {
		return PullProgress{}, false
	}
	return PullProgress{info.BytesDone, info.BytesTotal}, true
}

// ListImages lists the images that the runtime holds.
func (c *Client) ListImages(ctx context.Context) ([]*runtimev1.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.images.ListImages(ctx, &runtimev1.ListImagesRequest{})
	if err != nil {
		return nil, wrap("list images", err)
	}
	return answer.GetImages(), nil
}

// RemoveImage forgets an image with all its names.
func (c *Client) RemoveImage(ctx context.Context, image *runtimev1.ImageSpec) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	_, err := c.images.RemoveImage(ctx, &runtimev1.RemoveImageRequest{Image: image})
	return wrap("remove image", ignoreNotFound(err))
}
