package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Reasons of containers that wait for their image.
const (
	reasonPull        = "ErrImagePull"
	reasonPullBackOff = "ImagePullBackOff"
	reasonNeverPull   = "ErrImageNeverPull"
)

// puller gets images, each once however many pods wait for it.
type puller struct {
	rt      Runtime
	flights singleflight.Group
	ctx     context.Context // ends pulls with the worker, not with the pod that happened to ask first

	mu     sync.Mutex
	latest string    // the image that was last found present
	found  time.Time // when
}

// presentFor is how long an image that was found present is taken to be: the pods of a Deployment come together. One
// that went meanwhile fails the creation of its container, which is tried again.
const presentFor = time.Second

func (p *puller) justFound(image string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latest == image && time.Since(p.found) < presentFor
}

func (p *puller) noteFound(image string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest, p.found = image, time.Now()
}

var errNeverPull = errors.New("container image is not present and its pull policy is Never")

// present reports whether the container may start with what the runtime of the handler holds.
func (p *puller) present(ctx context.Context, c *corev1.Container, handler string) (bool, error) {
	policy := pullPolicy(c)
	if policy == corev1.PullAlways {
		return false, nil
	}
	key := handler + " " + c.Image
	if p.justFound(key) {
		return true, nil
	}
	image, err := p.rt.ImageStatus(ctx, &runtimev1.ImageSpec{Image: c.Image, RuntimeHandler: handler})
	if err != nil {
		return false, err
	}
	if image == nil && policy == corev1.PullNever {
		return false, fmt.Errorf("image %q: %w", c.Image, errNeverPull)
	}
	if image == nil {
		return false, nil
	}
	p.noteFound(key)
	return true, nil
}

// pullPolicy is the spec's, with the API's defaults for specs that did not pass through it. An image named by its
// digest is what it is: there is nothing newer under the name to look for.
func pullPolicy(c *corev1.Container) corev1.PullPolicy {
	_, digest, pinned := strings.Cut(c.Image, "@")
	switch {
	case c.ImagePullPolicy == corev1.PullNever:
		return corev1.PullNever
	case pinned && digest != "", c.ImagePullPolicy == corev1.PullIfNotPresent:
		return corev1.PullIfNotPresent
	default:
		return corev1.PullAlways
	}
}
