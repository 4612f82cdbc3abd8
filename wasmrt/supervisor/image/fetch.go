package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// store fetches what the manifest names, has the module compiled, and answers the image, not yet recorded.
func (p *Puller) store(ctx context.Context, img v1.Image, id string) (_ *Image, err error) {
	if have, err := p.cfg.Store.Get(id); err == nil {
		return have, nil
	}
	i := &Image{ID: id, PulledAt: p.cfg.Now().UnixNano()}
	defer func() {
		if err != nil {
			p.cfg.Store.abandon(i.Blobs)
		}
	}()
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	layout, module, err := layoutOf(m)
	if err != nil {
		return nil, err
	}
	i.Layout = layout
	if err := p.keepManifest(i, img); err != nil {
		return nil, err
	}
	if layout == layoutImage {
		err = p.keepFromImage(i, img)
	} else {
		err = p.keepLayer(i, img, module)
	}
	if err != nil {
		return nil, err
	}
	compiled, err := p.cfg.Compiler.Compile(ctx, p.cfg.Store.blobs.path(i.Module), i.Module)
	if err != nil {
		return nil, err
	}
	i.Kind, i.CompileMicros, i.CompileCached = compiled.Kind, compiled.Micros, compiled.Cached
	return i, nil
}

// keep writes a blob for the image and holds it to the digest that it must have, if one is given.
func (p *Puller) keep(i *Image, r io.Reader, limit int64, want string) (string, error) {
	digest, size, err := p.cfg.Store.blobs.write(r, limit)
	if err != nil {
		return "", err
	}
	if !slices.Contains(i.Blobs, digest) {
		i.Blobs = append(i.Blobs, digest)
		i.Size += size
	}
	if want != "" && digest != want {
		return "", fmt.Errorf("%w: blob %s has the content of %s", ErrUnavailable, want, digest)
	}
	return digest, nil
}

func (p *Puller) keepManifest(i *Image, img v1.Image) error {
	raw, err := img.RawManifest()
	if err != nil {
		return err
	}
	_, err = p.keep(i, bytes.NewReader(raw), MaxManifest, i.ID)
	return err
}

// keepLayer keeps an artifact's one layer, which is the module itself.
func (p *Puller) keepLayer(i *Image, img v1.Image, module v1.Descriptor) error {
	layer, err := img.LayerByDigest(module.Digest)
	if err != nil {
		return err
	}
	r, err := layer.Compressed() // the client's word for the bytes as they are sent
	if err != nil {
		return err
	}
	defer r.Close()
	i.Module, err = p.keep(i, r, MaxModule, module.Digest.String())
	i.ModuleSize = module.Size
	return err
}

// keepFromImage keeps an ordinary image's config and takes its module out of the layers, the topmost first.
func (p *Puller) keepFromImage(i *Image, img v1.Image) error {
	raw, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	if _, err := p.keep(i, bytes.NewReader(raw), MaxConfig, ""); err != nil {
		return err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("%w: its config cannot be read: %w", ErrUnsupported, err)
	}
	want, err := modulePath(config)
	if err != nil {
		return err
	}
	i.Entrypoint, i.Cmd, i.Env, i.WorkingDir = config.Config.Entrypoint, config.Config.Cmd, config.Config.Env, config.Config.WorkingDir
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, layer := range slices.Backward(layers) {
		found, err := p.searchLayer(i, layer, want)
		if errors.Is(err, errHidden) {
			break
		}
		if err != nil || found {
			return err
		}
	}
	if want == "" {
		want = "*.wasm"
	}
	return fmt.Errorf("%w: none of its layers holds the file /%s", ErrUnsupported, want)
}

// searchLayer keeps the whole layer first: only then is it known to be what its digest says. It goes again afterwards.
func (p *Puller) searchLayer(i *Image, layer v1.Layer, want string) (bool, error) {
	mt, err := layer.MediaType()
	if err != nil {
		return false, err
	}
	if !slices.Contains(tarLayers, mt) {
		return false, fmt.Errorf("%w: a layer is %s; read are %v", ErrUnsupported, mt, tarLayers)
	}
	digest, err := layer.Digest()
	if err != nil {
		return false, err
	}
	sent, err := layer.Compressed()
	if err != nil {
		return false, err
	}
	kept, _, err := p.cfg.Store.blobs.write(sent, MaxLayer)
	if err = errors.Join(err, sent.Close()); err != nil {
		return false, err
	}
	p.cfg.Store.abandon([]string{kept})
	if kept != digest.String() {
		return false, fmt.Errorf("%w: layer %s has the content of %s", ErrUnavailable, digest, kept)
	}
	f, err := os.Open(p.cfg.Store.blobs.path(kept))
	if err != nil {
		return false, fmt.Errorf("open layer: %w", err)
	}
	defer f.Close()
	plain, err := decompress(f)
	if err != nil {
		return false, err
	}
	return findInTar(plain, want, func(name string, r io.Reader) error { return p.keepFile(i, name, r) })
}

func (p *Puller) keepFile(i *Image, name string, r io.Reader) error {
	digest, size, err := p.cfg.Store.blobs.write(r, MaxModule)
	if err != nil {
		return err
	}
	i.Module, i.ModuleSize = digest, size
	i.Blobs = append(i.Blobs, digest)
	i.Size += size
	if len(i.Entrypoint) == 0 && len(i.Cmd) == 0 {
		i.Entrypoint = []string{"/" + name}
	}
	return nil
}
