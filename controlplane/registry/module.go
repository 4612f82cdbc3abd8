package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ErrNotModule is wrapped by OpenModule for an artifact that holds no WebAssembly module.
var ErrNotModule = errors.New("not a WebAssembly artifact")

// PutModule stores a module and answers the digest of its manifest, by which it is pulled, and of the module itself.
// The same bytes and annotations always give the same digests, and storing them again changes nothing. When it
// returns without an error, everything is on disk.
func (r *Registry) PutModule(ctx context.Context, repository string, wasm io.ReadSeeker, annotations map[string]string) (manifestDigest, moduleDigest string, err error) {
	if _, err := wasm.Seek(0, io.SeekStart); err != nil {
		return "", "", fmt.Errorf("rewind module: %w", err)
	}
	a, err := describe(wasm, annotations)
	if err != nil {
		return "", "", err
	}
	unlock := r.pushes.lock(repository)
	defer unlock()
	for range putAttempts {
		if _, err = wasm.Seek(0, io.SeekStart); err != nil {
			return "", "", fmt.Errorf("rewind module: %w", err)
		}
		if err = push(ctx, r.call, repository, a, wasm); err == nil {
			return a.manifestDigest.String(), a.module.Digest.String(), nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return "", "", fmt.Errorf("store module in %s: %w", repository, err)
}

// caller sends one request to a registry.
type caller func(ctx context.Context, method, path, mediaType string, body io.Reader, size int64) (*reply, error)

func push(ctx context.Context, call caller, repository string, a *artifact, wasm io.Reader) error {
	if err := pushBlob(ctx, call, repository, a.module.Digest, wasm, a.module.Size); err != nil {
		return err
	}
	if err := pushBlob(ctx, call, repository, a.configDigest, bytes.NewReader(a.config), int64(len(a.config))); err != nil {
		return err
	}
	path := "/v2/" + repository + "/manifests/" + a.manifestDigest.String()
	out, err := call(ctx, http.MethodPut, path, string(types.OCIManifestSchema1), bytes.NewReader(a.manifest), int64(len(a.manifest)))
	if err != nil {
		return err
	}
	if out.status != http.StatusCreated {
		return out.failure("put manifest")
	}
	return nil
}

func pushBlob(ctx context.Context, call caller, repository string, digest v1.Hash, content io.Reader, size int64) error {
	path := "/v2/" + repository + "/blobs/uploads/?digest=" + digest.String()
	out, err := call(ctx, http.MethodPost, path, "application/octet-stream", content, size)
	if err != nil {
		return err
	}
	if out.status != http.StatusCreated {
		return out.failure("put blob")
	}
	return nil
}

// OpenModule finds a module by tag or manifest digest. It answers the manifest's digest, and the module's bytes,
// which the caller closes. An error wraps fs.ErrNotExist where there is no such reference, and ErrNotModule where it
// names something else.
func (r *Registry) OpenModule(ctx context.Context, repository, reference string) (manifestDigest string, wasm io.ReadCloser, err error) {
	out, err := r.call(ctx, http.MethodGet, "/v2/"+repository+"/manifests/"+reference, "", nil, 0)
	if err != nil {
		return "", nil, err
	}
	if out.status == http.StatusNotFound {
		return "", nil, fmt.Errorf("find %s %s: %w", repository, reference, fs.ErrNotExist)
	}
	if out.status != http.StatusOK {
		return "", nil, out.failure("get manifest")
	}
	var manifest v1.Manifest
	if err := json.Unmarshal(out.body.Bytes(), &manifest); err != nil {
		return "", nil, fmt.Errorf("decode manifest of %s: %w", repository, err)
	}
	if len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != LayerMediaType {
		return "", nil, fmt.Errorf("read %s %s: %w: it has no single layer of type %s", repository, reference, ErrNotModule, LayerMediaType)
	}
	file, err := os.Open(blobPath(r.dir(repository), manifest.Layers[0].Digest))
	if err != nil {
		return "", nil, fmt.Errorf("open module: %w", err)
	}
	return out.header.Get("Docker-Content-Digest"), file, nil
}

// DeleteModule removes a manifest; its blobs follow with the next collection unless another manifest names them.
// What is not there counts as removed.
func (r *Registry) DeleteModule(ctx context.Context, repository, manifestDigest string) error {
	out, err := r.call(ctx, http.MethodDelete, "/v2/"+repository+"/manifests/"+manifestDigest, "", nil, 0)
	if err != nil {
		return err
	}
	if out.status != http.StatusAccepted && out.status != http.StatusNotFound {
		return out.failure("delete manifest")
	}
	return nil
}
