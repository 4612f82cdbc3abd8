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

	"github.com/petrelrun/petrel/worker/credentials"
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
	book    *pulledBook
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

var errNotAllowed = errors.New("container image came for credentials that the pod has not, and its pull policy is Never")

// never reports whether the image is out of reach because it is not to be pulled.
func never(err error) bool { return errors.Is(err, errNeverPull) || errors.Is(err, errNotAllowed) }

// present reports whether the container may start with what the runtime of the handler holds. What came for credentials is
// only for pods that have one of them; others have to ask the registry.
func (p *puller) present(ctx context.Context, c *corev1.Container, handler string, keys func(context.Context) (*credentials.Keyring, error)) (bool, error) {
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
	if !p.book.private(image.GetId()) {
		p.noteFound(key)
		return true, nil
	}
	ring, err := keys(ctx)
	if err != nil || p.book.allows(image.GetId(), ring.For(c.Image)) {
		return err == nil, err
	}
	if policy == corev1.PullNever {
		return false, fmt.Errorf("image %q: %w", c.Image, errNotAllowed)
	}
	return false, nil
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
