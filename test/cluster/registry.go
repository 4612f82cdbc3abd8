package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"k8s.io/client-go/rest"
)

// The media types of the CNCF Wasm OCI artifact.
const (
	wasmConfigType types.MediaType = "application/vnd.wasm.config.v0+json"
	wasmLayerType  types.MediaType = "application/wasm"
)

// Registry is the name that pods' images give the control plane's own registry.
const Registry = "registry.petrel.internal"

// Push uploads a module to the cluster's registry with a registry client of nobody's here and answers the image name
// that a pod refers to it by.
func (c *Cluster) Push(ctx context.Context, repository string, wasm []byte) (string, error) {
	_, host, _ := strings.Cut(c.State.API, "://")
	config, err := c.restConfig()
	if err != nil {
		return "", fmt.Errorf("push module: %w", err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return "", fmt.Errorf("push module: %w", err)
	}
	tag, err := name.NewTag(host+"/"+repository+":latest", name.Insecure)
	if err != nil {
		return "", fmt.Errorf("push module: %w", err)
	}
	image, err := artifact(wasm)
	if err != nil {
		return "", fmt.Errorf("push module: %w", err)
	}
	if err := remote.Write(tag, image, remote.WithContext(ctx), remote.WithTransport(transport)); err != nil {
		return "", fmt.Errorf("push module: %w", err)
	}
	digest, err := image.Digest()
	if err != nil {
		return "", fmt.Errorf("push module: %w", err)
	}
	return Registry + "/" + repository + "@" + digest.String(), nil
}

// artifact wraps a module in the CNCF layout.
func artifact(wasm []byte) (v1.Image, error) {
	layer := static.NewLayer(wasm, wasmLayerType)
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, wasmConfigType)
	image, err := mutate.Append(image, mutate.Addendum{Layer: layer, MediaType: wasmLayerType})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = "wasm", "wasip1"
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	return mutate.ConfigFile(image, config)
}
