package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// store makes the image of a manifest, not yet recorded: fetch brings what it names, then the module is compiled.
func (p *Puller) store(ctx context.Context, doc *document, fetch func(ctx context.Context, i *Image, m *v1.Manifest, module v1.Descriptor) error) (_ *Image, err error) {
	if have, err := p.cfg.Store.Get(doc.digest); err == nil {
		return have, nil
	}
	i := &Image{ID: doc.digest, PulledAt: p.cfg.Now().UnixNano()}
	defer func() {
		if err != nil {
			p.cfg.Store.abandon(i.Blobs)
		}
	}()
	m, err := v1.ParseManifest(bytes.NewReader(doc.raw))
	if err != nil {
		return nil, fmt.Errorf("%w: its manifest cannot be read: %w", ErrUnsupported, err)
	}
	layout, module, err := layoutOf(m)
	if err != nil {
		return nil, err
	}
	i.Layout = layout
	if _, err := p.keep(i, bytes.NewReader(doc.raw), MaxManifest, doc.digest); err != nil {
		return nil, err
	}
	if err := fetch(ctx, i, m, module); err != nil {
		return nil, err
	}
	compiled, err := p.cfg.Compiler.Compile(ctx, p.cfg.Store.blobs.path(i.Module), i.Module)
	if err != nil {
		return nil, err
	}
	i.Kind, i.CompileMicros, i.CompileCached = compiled.Kind, compiled.Micros, compiled.Cached
	return i, nil
}

// fetch downloads what the image's layout needs.
func (d *download) fetch(ctx context.Context, i *Image, m *v1.Manifest, module v1.Descriptor) error {
	if i.Layout == layoutImage {
		return d.keepFromImage(ctx, i, m)
	}
	return d.keepLayer(ctx, i, module)
}

// keep writes a blob for the image and holds it to the digest that it must have, if one is given.
func (p *Puller) keep(i *Image, r io.Reader, limit int64, want string) (string, error) {
	digest, size, err := p.cfg.Store.blobs.write(r, limit)
	if err != nil {
		return "", err
	}
	i.note(digest, size)
	if want != "" && digest != want {
		return "", fmt.Errorf("%w: blob %s has the content of %s", ErrUnavailable, want, digest)
	}
	return digest, nil
}

// note makes a stored blob the image's.
func (i *Image) note(digest string, size int64) {
	if !slices.Contains(i.Blobs, digest) {
		i.Blobs = append(i.Blobs, digest)
		i.Size += size
	}
}

// keepLayer keeps an artifact's one layer, which is the module itself.
func (d *download) keepLayer(ctx context.Context, i *Image, module v1.Descriptor) error {
	if module.Size > MaxModule {
		return fmt.Errorf("%w: the module has %d bytes, at most %d are accepted", ErrTooLarge, module.Size, MaxModule)
	}
	d.progress.total.Store(module.Size)
	f, err := d.blob(ctx, module)
	if err != nil {
		return err
	}
	i.Module, i.ModuleSize = module.Digest.String(), module.Size
	err = d.puller.cfg.Store.blobs.adopt(f.File, i.Module)
	if err == nil {
		i.note(i.Module, i.ModuleSize)
	}
	return errors.Join(err, f.leave(true))
}

// keepFromImage keeps an ordinary image's config and takes its module out of the layers, the topmost first. Layers below
// the module are not fetched: of an image that was put on a base, most is not.
func (d *download) keepFromImage(ctx context.Context, i *Image, m *v1.Manifest) error {
	if m.Config.Size > MaxConfig {
		return fmt.Errorf("%w: its config has %d bytes, at most %d are read", ErrTooLarge, m.Config.Size, MaxConfig)
	}
	d.progress.total.Store(m.Config.Size)
	config, err := d.config(ctx, i, m.Config)
	if err != nil {
		return err
	}
	want, err := modulePath(config)
	if err != nil {
		return err
	}
	if err := checkLayers(m); err != nil {
		return err
	}
	i.Entrypoint, i.Cmd, i.Env, i.WorkingDir = config.Config.Entrypoint, config.Config.Cmd, config.Config.Env, config.Config.WorkingDir
	budget := &budget{bytes: MaxUnpacked, entries: MaxEntries}
	for _, layer := range slices.Backward(m.Layers) {
		found, err := d.searchLayer(ctx, i, layer, want, budget)
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

func (d *download) config(ctx context.Context, i *Image, desc v1.Descriptor) (*v1.ConfigFile, error) {
	f, err := d.blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, desc.Size)
	_, err = f.ReadAt(raw, 0)
	if err == nil || err == io.EOF {
		err = d.puller.cfg.Store.blobs.adopt(f.File, desc.Digest.String())
	}
	if err = errors.Join(err, f.leave(true)); err != nil {
		return nil, err
	}
	i.note(desc.Digest.String(), desc.Size)
	config, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: its config cannot be read: %w", ErrUnsupported, err)
	}
	return config, nil
}

// searchLayer fetches the whole layer first: only then is it known to be what its digest says. It goes again afterwards.
func (d *download) searchLayer(ctx context.Context, i *Image, layer v1.Descriptor, want string, b *budget) (found bool, err error) {
	if !slices.Contains(tarLayers, layer.MediaType) {
		return false, fmt.Errorf("%w: a layer is %s; read are %v", ErrUnsupported, layer.MediaType, tarLayers)
	}
	d.progress.total.Add(layer.Size)
	f, err := d.blob(ctx, layer)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.leave(true)) }()
	var at *place
	err = readTar(f, func(plain io.Reader) (err error) { at, err = findInTar(plain, want, b); return err })
	if err != nil || at == nil {
		return false, err
	}
	return true, readTar(f, func(plain io.Reader) error {
		return takeFromTar(plain, at, func(name string, r io.Reader) error { return d.puller.keepFile(i, name, r) })
	})
}

// readTar hands out the layer from its begin, decompressed.
func readTar(f *part, read func(io.Reader) error) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read layer: %w", err)
	}
	plain, done, err := decompress(f)
	if err != nil {
		return err
	}
	defer done()
	return read(plain)
}

// keepFile stores a module out of a layer.
func (p *Puller) keepFile(i *Image, name string, r io.Reader) error {
	digest, size, err := p.cfg.Store.blobs.write(r, MaxModule)
	if err != nil {
		return err
	}
	i.Module, i.ModuleSize = digest, size
	i.note(digest, size)
	if len(i.Entrypoint) == 0 && len(i.Cmd) == 0 {
		i.Entrypoint = []string{"/" + name}
	}
	return nil
}
