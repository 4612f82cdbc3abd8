package image

import (
	"fmt"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Layouts, as records name them.
const (
	layoutArtifact = "artifact" // one layer of type application/wasm
	layoutLegacy   = "legacy"   // one layer of an older Wasm media type
	layoutImage    = "image"    // an ordinary image with a .wasm file in it
)

// wasmLayer is the layer type of the CNCF's Wasm OCI artifact layout.
const wasmLayer types.MediaType = "application/wasm"

// legacyLayers are what earlier tools pushed: wasm-to-oci, Solo's wasm images, runwasi's first releases.
var legacyLayers = []types.MediaType{
	"application/vnd.wasm.content.layer.v1+wasm",
	"application/vnd.module.wasm.content.layer.v1+wasm",
	"application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
}

// tarLayers are the layers of ordinary images that are searched.
var tarLayers = []types.MediaType{types.OCILayer, types.OCIUncompressedLayer, types.OCILayerZStd, types.DockerLayer, types.DockerUncompressedLayer}

// accepted is told to whoever pushed something else.
const accepted = "accepted are one layer of type application/wasm (config application/vnd.wasm.config.v0+json), " +
	"one layer of an older Wasm type (application/vnd.wasm.content.layer.v1+wasm, application/vnd.module.wasm.content.layer.v1+wasm), " +
	"or an image whose entrypoint is a .wasm file"

// layoutOf says what a manifest's layout is, and for an artifact which layer is the module. The layers of an ordinary
// image are not judged yet: what is none for Wasm is another runtime's.
func layoutOf(m *v1.Manifest) (layout string, module v1.Descriptor, err error) {
	var found []v1.Descriptor
	for _, l := range m.Layers {
		if l.MediaType == wasmLayer || slices.Contains(legacyLayers, l.MediaType) {
			found = append(found, l)
		}
	}
	if len(found) == 0 && (m.Config.MediaType == types.OCIConfigJSON || m.Config.MediaType == types.DockerConfigJSON) {
		return layoutImage, module, checkBlobs(m, m.Config)
	}
	switch {
	case len(found) > 1:
		return "", module, refuse(m, fmt.Sprintf("%d of its layers are modules", len(found)))
	case len(found) == 1 && found[0].MediaType == wasmLayer:
		layout = layoutArtifact
	case len(found) == 1:
		layout = layoutLegacy
	default:
		return "", module, refuse(m, fmt.Sprintf("none of its %d layers is a module", len(m.Layers)))
	}
	module = found[0]
	return layout, module, checkLayers(m)
}

// checkLayers holds an image to the limits of what is pulled.
func checkLayers(m *v1.Manifest) error {
	if len(m.Layers) == 0 || len(m.Layers) > MaxLayers {
		return refuse(m, fmt.Sprintf("it has %d layers", len(m.Layers)))
	}
	return checkBlobs(m, append(slices.Clone(m.Layers), m.Config)...)
}

func checkBlobs(m *v1.Manifest, blobs ...v1.Descriptor) error {
	var all int64
	for _, l := range blobs {
		if l.Size < 0 || l.Size > MaxLayer {
			return fmt.Errorf("%w: blob %s has %d bytes, at most %d are pulled", ErrTooLarge, l.Digest, l.Size, MaxLayer)
		}
		if all += l.Size; all > MaxImage {
			return fmt.Errorf("%w: its blobs have more than %d bytes together", ErrTooLarge, MaxImage)
		}
		if len(l.URLs) > 0 {
			return refuse(m, "a layer is to be fetched from elsewhere, which is never done")
		}
		if l.Digest.Algorithm != "sha256" {
			return refuse(m, fmt.Sprintf("digest algorithm %s is not read", l.Digest.Algorithm))
		}
	}
	return nil
}

// refuse names what was found and what would do.
func refuse(m *v1.Manifest, why string) error {
	var layers []string
	for _, l := range m.Layers {
		if mt := string(l.MediaType); !slices.Contains(layers, mt) {
			layers = append(layers, mt)
		}
	}
	const most = 8
	if len(layers) > most {
		layers = append(layers[:most], "…")
	}
	return fmt.Errorf("%w: %s: config is %s, layers are [%s]; %s", ErrUnsupported, why, m.Config.MediaType, strings.Join(layers, ", "), accepted)
}

// modulePath is where an ordinary image's module lies in its file system, relative to the root, or "" when any single
// .wasm file is meant, which only an image that says it is Wasm may leave open.
func modulePath(c *v1.ConfigFile) (string, error) {
	entry := ""
	if len(c.Config.Entrypoint) > 0 {
		entry = c.Config.Entrypoint[0]
	} else if len(c.Config.Cmd) > 0 {
		entry = c.Config.Cmd[0]
	}
	if strings.HasSuffix(entry, ".wasm") {
		if !path.IsAbs(entry) {
			entry = path.Join("/", c.Config.WorkingDir, entry)
		}
		return strings.TrimPrefix(path.Clean(entry), "/"), nil
	}
	if entry == "" && strings.HasPrefix(c.Architecture, "wasm") {
		return "", nil
	}
	return "", fmt.Errorf("%w: it is an image for %s/%s whose entrypoint is %q; %s", ErrNotWasm, c.OS, c.Architecture, entry, accepted)
}
