package runtimes

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

// Config names the runtimes of a node.
type Config struct {
	// Wasm is petrel-wasmrt, which each node has.
	Wasm *cri.Client
	// Containerd runs containers; nil: the node has none.
	Containerd *cri.Client
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	if c.Wasm == nil {
		return errors.New("a node needs a runtime for Wasm")
	}
	return nil
}

// Set is the runtimes of a node as one. Its methods are safe for concurrent use.
type Set struct {
	wasm, oci *Member // oci is nil without containerd
}

// New makes a set; it asks nobody anything.
func New(cfg Config) (*Set, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Set{}
	s.wasm = &Member{Name: Wasm, Client: cfg.Wasm, set: s}
	if cfg.Containerd != nil {
		s.oci = &Member{Name: Containerd, Client: cfg.Containerd, set: s}
	}
	return s, nil
}

// Members are the runtimes, each by itself, petrel-wasmrt first.
func (s *Set) Members() []*Member {
	if s.oci == nil {
		return []*Member{s.wasm}
	}
	return []*Member{s.wasm, s.oci}
}

// Containers reports whether the node runs containers beside Wasm.
func (s *Set) Containers() bool { return s.oci != nil }

// Close ends the connections.
func (s *Set) Close() error {
	var errs []error
	for _, m := range s.Members() {
		errs = append(errs, m.Client.Close())
	}
	return errors.Join(errs...)
}

// named is the member that an ID is of, and its own ID.
func (s *Set) named(id string) (*Member, string, error) {
	name, inner, err := split(id)
	if err != nil {
		return nil, "", err
	}
	if name == Wasm {
		return s.wasm, inner, nil
	}
	if s.oci == nil {
		return nil, "", fmt.Errorf("ID %q: %w", id, errNoContainerd)
	}
	return s.oci, inner, nil
}

// errNoContainerd is as if containerd was away: a node may be started without it for a while, and its pods wait.
var errNoContainerd = status.Error(codes.Unavailable, "this node runs without containerd")

// UpdatePodCIDR tells the runtime that gives sandboxes their addresses itself. Containers get theirs by the CNI.
func (s *Set) UpdatePodCIDR(ctx context.Context, cidr string) error {
	return s.wasm.Client.UpdatePodCIDR(ctx, cidr)
}

// kindOf is what a sandbox is for: as it is marked, or by its handler.
func (s *Set) kindOf(config *runtimev1.PodSandboxConfig, handler string) Kind {
	switch kind := Kind(config.GetAnnotations()[AnnotationKind]); {
	case kind == KindWasm || kind == KindOCI || kind == KindBoth:
		return kind
	case handler == HandlerWasm || handler == "" && s.oci == nil:
		return KindWasm
	default:
		return KindOCI
	}
}

// ofImage is the member that a container's image is for, by the handler that its specification names.
func (s *Set) ofImage(image *runtimev1.ImageSpec) (*Member, *runtimev1.ImageSpec) {
	if s.oci != nil && image.GetRuntimeHandler() != HandlerWasm {
		return s.oci, image
	}
	return s.wasm, &runtimev1.ImageSpec{
		Image: image.GetImage(), Annotations: image.GetAnnotations(), UserSpecifiedImage: image.GetUserSpecifiedImage(),
	}
}

// ImageStatus tells of an image that the runtime of its handler holds; nil when it does not.
func (s *Set) ImageStatus(ctx context.Context, image *runtimev1.ImageSpec) (*runtimev1.Image, error) {
	m, image := s.ofImage(image)
	return m.Client.ImageStatus(ctx, image)
}

// PullImage has the runtime of the image's handler fetch it.
func (s *Set) PullImage(ctx context.Context, image *runtimev1.ImageSpec, auth *runtimev1.AuthConfig, sandbox *runtimev1.PodSandboxConfig) (string, error) {
	m, image := s.ofImage(image)
	return m.Client.PullImage(ctx, image, auth, sandbox)
}

// PullProgress tells how far a pull is.
func (s *Set) PullProgress(ctx context.Context, image *runtimev1.ImageSpec) (cri.PullProgress, bool) {
	m, image := s.ofImage(image)
	return m.Client.PullProgress(ctx, image)
}
