package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// download is one pull under way.
type download struct {
	puller   *Puller
	repo     string    // whose parts it may use
	sources  []*source // where blobs may be had, the likeliest first
	asked    []*source
	progress *progress
}

// source is a host that is connected to when it is first asked.
type source struct {
	host   *host
	dial   func(ctx context.Context) (*remote, error)
	opened *remote
}

func (s *source) remote(ctx context.Context) (*remote, error) {
	if s.opened != nil {
		return s.opened, nil
	}
	r, err := s.dial(ctx)
	if err == nil {
		s.opened = r
	}
	return r, err
}

// close gives up what the sources hold.
func (d *download) close() {
	for _, s := range d.asked {
		if s.opened != nil {
			s.opened.close()
		}
	}
}

// resolve asks the hosts of a reference in turn for its manifest; of an index, for the one that is for Wasm.
func (d *download) resolve(ctx context.Context, r name.Reference, auth authn.AuthConfig) (*document, error) {
	hosts, err := d.puller.hosts(r.Context().Registry)
	if err != nil {
		return nil, err
	}
	_, byTag := r.(name.Tag)
	var failed []error
	var behind []*source // that failed once
	var found *document
	for i := range hosts {
		h := &hosts[i]
		if h.plain && !errors.Is(errors.Join(failed...), http.ErrSchemeMismatch) {
			continue // who speaks TLS is not asked in the open
		}
		s := &source{host: h, dial: func(ctx context.Context) (*remote, error) { return d.puller.connect(ctx, h, r, auth) }}
		d.asked = append(d.asked, s)
		if found != nil || byTag && !h.resolve || !byTag && !h.pull {
			d.add(s)
			continue
		}
		m, err := d.ask(ctx, s, r.Identifier())
		if err == nil {
			found = m
			d.add(s)
			continue
		}
		behind = append(behind, s)
		failed = append(failed, &hostError{h.String(), err})
		if errors.Is(err, ErrUnsupported) || errors.Is(err, ErrTooLarge) || ctx.Err() != nil {
			break // the image is what it is: elsewhere it would be another
		}
	}
	for _, s := range behind {
		d.add(s)
	}
	if found == nil {
		if len(hosts) == 0 || len(failed) == 0 {
			return nil, fmt.Errorf("%w: no host of %s may resolve it", ErrConfig, r.Context().RegistryStr())
		}
		return nil, worst(failed)
	}
	return found, nil
}

func (d *download) add(s *source) {
	if s.host.pull {
		d.sources = append(d.sources, s)
	}
}

func (d *download) ask(ctx context.Context, s *source, id string) (*document, error) {
	re, err := s.remote(ctx)
	if err != nil {
		return nil, err
	}
	var m *document
	get := func() (err error) { m, err = re.manifest(ctx, id); return err }
	if err := d.puller.again(ctx, get); err != nil {
		return nil, err
	}
	switch m.mediaType {
	case types.OCIManifestSchema1, types.DockerManifestSchema2:
		return m, nil
	case types.OCIImageIndex, types.DockerManifestList:
	default:
		return nil, fmt.Errorf("%w: its manifest is %s; %s", ErrUnsupported, m.mediaType, accepted)
	}
	index, err := v1.ParseIndexManifest(strings.NewReader(string(m.raw)))
	if err != nil {
		return nil, fmt.Errorf("%w: its index cannot be read: %w", ErrUnsupported, err)
	}
	child, err := pickFromIndex(index)
	if err != nil {
		return nil, err
	}
	id = child.Digest.String()
	if err := d.puller.again(ctx, get); err != nil {
		return nil, err
	}
	if child.Size != int64(len(m.raw)) {
		return nil, fmt.Errorf("%w: manifest %s has %d bytes, the index says %d", ErrUnavailable, id, len(m.raw), child.Size)
	}
	if m.mediaType != types.OCIManifestSchema1 && m.mediaType != types.DockerManifestSchema2 {
		return nil, fmt.Errorf("%w: a manifest in its index is %s; %s", ErrUnsupported, m.mediaType, accepted)
	}
	return m, nil
}

// pickFromIndex answers the manifest for Wasm, or the only one there is.
func pickFromIndex(m *v1.IndexManifest) (v1.Descriptor, error) {
	var platforms []string
	var images, wasm []v1.Descriptor
	for _, d := range m.Manifests {
		if d.Platform != nil && d.Platform.OS == "unknown" {
			continue // what builders tell of an image, beside it
		}
		images = append(images, d)
		if d.Platform == nil {
			continue
		}
		if strings.HasPrefix(d.Platform.Architecture, "wasm") {
			wasm = append(wasm, d)
		}
		const most = 16
		if len(platforms) < most {
			platforms = append(platforms, d.Platform.String())
		}
	}
	for _, os := range []string{"wasip1", "wasi", ""} {
		for _, d := range wasm {
			if os == "" || d.Platform.OS == os {
				return checkDigest(d)
			}
		}
	}
	if len(images) == 1 {
		return checkDigest(images[0])
	}
	return v1.Descriptor{}, fmt.Errorf("%w: its index has no manifest for wasm, but for [%s]", ErrNotWasm, strings.Join(platforms, ", "))
}

func checkDigest(d v1.Descriptor) (v1.Descriptor, error) {
	if d.Digest.Algorithm != "sha256" {
		return d, fmt.Errorf("%w: digest algorithm %s is not read", ErrUnsupported, d.Digest.Algorithm)
	}
	return d, nil
}
