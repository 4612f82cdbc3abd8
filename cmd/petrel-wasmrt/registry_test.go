package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ociRegistry is a registry on loopback that stands for registry.test.
type ociRegistry struct {
	t   *testing.T
	url string
}

func newRegistry(t *testing.T) *ociRegistry {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	return &ociRegistry{t: t, url: srv.URL}
}

// wasmImage is the CNCF's layout: go-containerregistry's own images have another config.
type wasmImage struct {
	v1.Image
	config []byte
}

const wasmConfigType types.MediaType = "application/vnd.wasm.config.v0+json"

func (i *wasmImage) RawConfigFile() ([]byte, error) { return i.config, nil }

func (i *wasmImage) ConfigName() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(i.config))
	return h, err
}

func (i *wasmImage) Manifest() (*v1.Manifest, error) {
	m, err := i.Image.Manifest()
	if err != nil {
		return nil, err
	}
	m = m.DeepCopy()
	digest, err := i.ConfigName()
	m.Config = v1.Descriptor{MediaType: wasmConfigType, Size: int64(len(i.config)), Digest: digest}
	return m, err
}

func (i *wasmImage) RawManifest() ([]byte, error) {
	m, err := i.Manifest()
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

func (i *wasmImage) Digest() (v1.Hash, error) {
	raw, err := i.RawManifest()
	if err != nil {
		return v1.Hash{}, err
	}
	h, _, err := v1.SHA256(bytes.NewReader(raw))
	return h, err
}

// push uploads a module as repo:v1 and answers the image's name by tag and by digest.
func (r *ociRegistry) push(repo string, wasm []byte) (tag, digest string) {
	r.t.Helper()
	base, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(wasm, "application/wasm"))
	if err != nil {
		r.t.Fatal(err)
	}
	img := &wasmImage{Image: base, config: []byte(`{"created":"1970-01-01T00:00:00Z","architecture":"wasm","os":"wasip1"}`)}
	return r.write(repo, img)
}

func (r *ociRegistry) write(repo string, img v1.Image) (tag, digest string) {
	r.t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(r.url, "http://") + "/" + repo + ":v1")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		r.t.Fatal(err)
	}
	h, err := img.Digest()
	if err != nil {
		r.t.Fatal(err)
	}
	return "registry.test/" + repo + ":v1", "registry.test/" + repo + "@" + h.String()
}

// pushImage uploads an ordinary image with one file in its one layer.
func (r *ociRegistry) pushImage(repo, file string, content []byte, config v1.Config) (tag string) {
	r.t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		r.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		r.t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err == nil {
		img, err = mutate.ConfigFile(img, withConfig(img, config))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	tag, _ = r.write(repo, img)
	return tag
}

func withConfig(img v1.Image, config v1.Config) *v1.ConfigFile {
	file, err := img.ConfigFile()
	if err != nil {
		panic(err) // it was just made
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", config
	return file
}
