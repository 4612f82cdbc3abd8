package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// importedConfig is the config type of the CNCF's layout.
const importedConfig types.MediaType = "application/vnd.wasm.config.v0+json"

// Import makes a module that lies in a file present as an image under ref, a tag. It is checked and compiled like one
// that was pulled: the file is as little believed as a registry. The same module is the same image, whatever its file.
func (p *Puller) Import(ctx context.Context, ref, path string) (*Image, error) {
	r, err := parse(ref)
	if err != nil {
		return nil, err
	}
	tag, ok := r.(name.Tag)
	if !ok {
		return nil, fmt.Errorf("%w %q: what is imported is named by a tag", ErrReference, ref)
	}
	layer, err := readLayer(path)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", canonical(tag), err)
	}
	doc, err := artifactOf(layer)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", canonical(tag), err)
	}
	ctx, done, err := p.flight(ctx)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", canonical(tag), err)
	}
	defer done()
	defer p.cfg.Store.pulling()()
	stored, err, _ := p.digests.Do(doc.digest, func() (any, error) {
		return p.store(ctx, doc, func(_ context.Context, i *Image, _ *v1.Manifest, module v1.Descriptor) error {
			return p.keepFileLayer(i, layer, module)
		})
	})
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", canonical(tag), err)
	}
	return p.cfg.Store.put(stored.(*Image), canonical(tag), "")
}

// flight counts a piece of work that Close ends and waits for.
func (p *Puller) flight(ctx context.Context) (context.Context, func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, context.Canceled
	}
	p.wg.Add(1)
	ctx, cancel := context.WithTimeout(ctx, PullTimeout)
	stop := context.AfterFunc(p.ctx, cancel)
	return ctx, func() { stop(); cancel(); p.wg.Done() }, nil
}

// keepFileLayer stores the module that the layer is.
func (p *Puller) keepFileLayer(i *Image, layer *fileLayer, module v1.Descriptor) error {
	r, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	i.Module, err = p.keep(i, r, MaxModule, module.Digest.String())
	i.ModuleSize = module.Size
	return err
}

// artifactOf is the manifest of the image in the CNCF's layout that the module would be in a registry.
func artifactOf(module v1.Layer) (*document, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), importedConfig)
	img, err := mutate.AppendLayers(img, module)
	if err != nil {
		return nil, fmt.Errorf("describe module: %w", err)
	}
	raw, err := img.RawManifest()
	if err != nil {
		return nil, fmt.Errorf("describe module: %w", err)
	}
	id, err := img.Digest()
	if err != nil {
		return nil, fmt.Errorf("describe module: %w", err)
	}
	return &document{raw: raw, digest: id.String(), mediaType: types.OCIManifestSchema1}, nil
}

// fileLayer is a module in a file as the layer of an artifact.
type fileLayer struct {
	path   string
	digest v1.Hash
	size   int64
}

// readLayer reads the file for its digest. Whoever reads it again holds what comes to that digest.
func readLayer(path string) (*fileLayer, error) {
	f, err := openModule(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, io.LimitReader(f, MaxModule+1))
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	if size > MaxModule {
		return nil, fmt.Errorf("%w: the module has more than %d bytes", ErrTooLarge, MaxModule)
	}
	return &fileLayer{path: path, size: size, digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", hash.Sum(nil))}}, nil
}

// openModule opens what is a file of known size: a pipe or a device might never end.
func openModule(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is no file", ErrUnsupported, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	return f, nil
}

func (l *fileLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *fileLayer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l *fileLayer) Compressed() (io.ReadCloser, error)   { return openModule(l.path) }
func (l *fileLayer) Uncompressed() (io.ReadCloser, error) { return openModule(l.path) }
func (l *fileLayer) Size() (int64, error)                 { return l.size, nil }
func (l *fileLayer) MediaType() (types.MediaType, error)  { return wasmLayer, nil }
