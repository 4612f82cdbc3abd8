package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const wasmConfig types.MediaType = "application/vnd.wasm.config.v0+json"

// testRegistry is a registry on loopback whose content the tests write byte by byte.
type testRegistry struct {
	t    *testing.T
	srv  *httptest.Server
	host string
	// intercept may answer a request instead of the registry; it says whether it did.
	intercept atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	gets      atomic.Int64 // of blobs
}

func newRegistry(t *testing.T) *testRegistry {
	t.Helper()
	r := &testRegistry{t: t}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
			r.gets.Add(1)
		}
		if f := r.intercept.Load(); f != nil && (*f)(w, req) {
			return
		}
		handler.ServeHTTP(w, req)
	}))
	t.Cleanup(r.srv.Close)
	r.host = strings.TrimPrefix(r.srv.URL, "http://")
	return r
}

func (r *testRegistry) onRequest(f func(http.ResponseWriter, *http.Request) bool) {
	r.intercept.Store(&f)
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return algorithm + hex.EncodeToString(h[:])
}

func hash(b []byte) v1.Hash {
	h, err := v1.NewHash(sum(b))
	if err != nil {
		panic(err)
	}
	return h
}

func (r *testRegistry) send(method, path, contentType string, body []byte) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.srv.URL+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		msg, _ := io.ReadAll(resp.Body)
		r.t.Fatalf("%s %s: %s: %s", method, path, resp.Status, msg)
	}
}

// blob uploads a blob and answers its descriptor.
func (r *testRegistry) blob(repo string, mt types.MediaType, content []byte) v1.Descriptor {
	r.t.Helper()
	r.send(http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+sum(content), "application/octet-stream", content)
	return v1.Descriptor{MediaType: mt, Size: int64(len(content)), Digest: hash(content)}
}

// manifest uploads a manifest under a tag and answers its digest.
func (r *testRegistry) manifest(repo, tag string, m any) string {
	r.t.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	mt := types.OCIManifestSchema1
	if _, ok := m.(*v1.IndexManifest); ok {
		mt = types.OCIImageIndex
	}
	r.send(http.MethodPut, "/v2/"+repo+"/manifests/"+tag, string(mt), raw)
	return sum(raw)
}

func manifest(config v1.Descriptor, layers ...v1.Descriptor) *v1.Manifest {
	return &v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: layers}
}

// artifact pushes a module in the CNCF's layout.
func (r *testRegistry) artifact(repo, tag string, module []byte) (digest string) {
	r.t.Helper()
	config := r.blob(repo, wasmConfig, []byte(`{"created":"1970-01-01T00:00:00Z","architecture":"wasm","os":"wasip1","layerDigests":["`+sum(module)+`"]}`))
	return r.manifest(repo, tag, manifest(config, r.blob(repo, wasmLayer, module)))
}

// image pushes an ordinary image.
func (r *testRegistry) image(repo, tag, config string, layers ...[]byte) string {
	r.t.Helper()
	var descs []v1.Descriptor
	for _, l := range layers {
		descs = append(descs, r.blob(repo, types.OCILayer, l))
	}
	return r.manifest(repo, tag, manifest(r.blob(repo, types.OCIConfigJSON, []byte(config)), descs...))
}

type file struct {
	name, content string
	kind          byte
}

func layer(t *testing.T, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		if f.kind != 0 {
			h.Typeflag, h.Linkname, h.Size = f.kind, f.content, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(f.content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// fakeCompiler accepts what begins like a module, and counts.
type fakeCompiler struct {
	calls atomic.Int64
	block chan struct{} // when set, Compile waits for it
	mu    sync.Mutex
	paths []string
}

func (c *fakeCompiler) Compile(ctx context.Context, path, digest string) (Compiled, error) {
	c.calls.Add(1)
	c.mu.Lock()
	c.paths = append(c.paths, path)
	c.mu.Unlock()
	if c.block != nil {
		select {
		case <-c.block:
		case <-ctx.Done():
			return Compiled{}, ctx.Err()
		}
	}
	if filepath.Base(path) != strings.TrimPrefix(digest, algorithm) {
		return Compiled{}, fmt.Errorf("path %s is not of digest %s", path, digest)
	}
	raw, err := readPrefix(path)
	if err != nil {
		return Compiled{}, err
	}
	if !bytes.HasPrefix(raw, []byte("\x00asm")) {
		return Compiled{}, fmt.Errorf("%w: not_wasm: the file is no WebAssembly module", ErrUnsupported)
	}
	return Compiled{Kind: "command", Micros: 42}, nil
}

// await blocks until Compile was called n times.
func (c *fakeCompiler) await(n int64) {
	for c.calls.Load() < n {
		time.Sleep(time.Millisecond)
	}
}

type world struct {
	*testRegistry
	root     string
	store    *Store
	puller   *Puller
	compiler *fakeCompiler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{testRegistry: newRegistry(t), root: t.TempDir(), compiler: &fakeCompiler{}}
	w.open(t)
	return w
}

// open starts store and puller on the world's directory, as a restarted supervisor does.
func (w *world) open(t *testing.T) (dropped []error) {
	t.Helper()
	w.store = NewStore(w.root)
	dropped, err := w.store.Open()
	if err != nil {
		t.Fatal(err)
	}
	mirrors := Mirrors{}
	if err := mirrors.Add("registry.test=" + w.srv.URL); err != nil {
		t.Fatal(err)
	}
	w.puller, err = NewPuller(Config{Store: w.store, Compiler: w.compiler, Mirrors: mirrors, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.puller.Close)
	return dropped
}

func (w *world) pull(t *testing.T, ref string) *Image {
	t.Helper()
	i, err := w.puller.Pull(context.Background(), ref, authn.AuthConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return i
}
