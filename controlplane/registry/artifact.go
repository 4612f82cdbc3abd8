package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Media types of the CNCF's Wasm OCI artifact layout.
const (
	ConfigMediaType types.MediaType = "application/vnd.wasm.config.v0+json"
	LayerMediaType  types.MediaType = "application/wasm"
)

// artifactCreated is fixed: a date would give the same module another digest each time.
const artifactCreated = "1970-01-01T00:00:00Z"

// wasmConfig is the artifact's config. Component is present and null: a core module has no world.
type wasmConfig struct {
	Created      string    `json:"created"`
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	LayerDigests []v1.Hash `json:"layerDigests"`
	Component    *struct{} `json:"component"`
}

// artifact is a module's config and manifest, ready to push.
type artifact struct {
	module         v1.Descriptor
	config         []byte
	configDigest   v1.Hash
	manifest       []byte
	manifestDigest v1.Hash
}

// describe reads the module once, for its digest, and makes config and manifest from it.
func describe(wasm io.Reader, annotations map[string]string) (*artifact, error) {
	sum := sha256.New()
	size, err := io.Copy(sum, wasm)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	a := &artifact{module: v1.Descriptor{
		MediaType: LayerMediaType,
		Size:      size,
		Digest:    v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))},
	}}
	a.config, err = json.Marshal(wasmConfig{
		Created: artifactCreated, Architecture: "wasm", OS: "wasip1", LayerDigests: []v1.Hash{a.module.Digest},
	})
	if err != nil {
		return nil, fmt.Errorf("encode config: %w", err)
	}
	if a.configDigest, _, err = v1.SHA256(bytes.NewReader(a.config)); err != nil {
		return nil, fmt.Errorf("hash config: %w", err)
	}
	a.manifest, err = json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        v1.Descriptor{MediaType: ConfigMediaType, Size: int64(len(a.config)), Digest: a.configDigest},
		Layers:        []v1.Descriptor{a.module},
		Annotations:   annotations,
	})
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	if a.manifestDigest, _, err = v1.SHA256(bytes.NewReader(a.manifest)); err != nil {
		return nil, fmt.Errorf("hash manifest: %w", err)
	}
	return a, nil
}
