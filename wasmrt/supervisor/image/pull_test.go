package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { http.DefaultClient.CloseIdleConnections(); os.Exit(code) }),
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

func readPrefix(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 8))
}

var wasm = []byte("\x00asm\x01\x00\x00\x00 the module")

func TestPullLayouts(t *testing.T) {
	w := newWorld(t)
	module := string(wasm)
	w.artifact("team/app", "v1", wasm)
	legacy := w.blob("team/legacy", legacyLayers[0], wasm)
	w.manifest("team/legacy", "v1", manifest(w.blob("team/legacy", "application/vnd.wasm.config.v1+json", []byte("{}")), legacy))
	w.image("team/image", "v1", `{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/app.wasm","-v"],"Env":["A=b"]}}`,
		layer(t, file{name: "bin/app.wasm", content: "an older one"}, file{name: "etc/x", content: "x"}),
		layer(t, file{name: "./bin/app.wasm", content: module}))
	w.image("team/sole", "v1", `{"architecture":"wasm","os":"wasip1","config":{}}`, layer(t, file{name: "m.wasm", content: module}))
	w.image("team/workdir", "v1", `{"config":{"Cmd":["m.wasm"],"WorkingDir":"/srv"}}`, layer(t, file{name: "srv/m.wasm", content: module}))

	for repo, want := range map[string]struct{ layout, entry string }{
		"team/app":     {layoutArtifact, "[]"},
		"team/legacy":  {layoutLegacy, "[]"},
		"team/image":   {layoutImage, "[/bin/app.wasm -v]"},
		"team/sole":    {layoutImage, "[/m.wasm]"},
		"team/workdir": {layoutImage, "[]"},
	} {
		t.Run(repo, func(t *testing.T) {
			i := w.pull(t, "registry.test/"+repo+":v1")
			if i.Layout != want.layout || i.Module != sum(wasm) || i.ModuleSize != int64(len(wasm)) || i.Kind != "command" || i.CompileMicros != 42 {
				t.Errorf("image %+v", i)
			}
			if got := fmt.Sprint(i.Entrypoint); got != want.entry {
				t.Errorf("entrypoint %s, want %s", got, want.entry)
			}
			if got, err := os.ReadFile(w.store.ModulePath(i)); err != nil || !bytes.Equal(got, wasm) {
				t.Errorf("stored module %q, %v", got, err)
			}
			if want := "registry.test/" + repo + ":v1"; len(i.RepoTags) != 1 || i.RepoTags[0] != want {
				t.Errorf("tags %v, want %s", i.RepoTags, want)
			}
			if want := "registry.test/" + repo + "@" + i.ID; len(i.RepoDigests) != 1 || i.RepoDigests[0] != want {
				t.Errorf("digests %v, want %s", i.RepoDigests, want)
			}
		})
	}
	// What was kept only to be searched is gone: module, manifests and the configs of the three images.
	entries, err := os.ReadDir(w.store.blobs.dir)
	if err != nil || len(entries) != 1+5+3 {
		t.Errorf("%d blobs are left, %v; want 9", len(entries), err)
	}
}

func TestPullRefuses(t *testing.T) {
	w := newWorld(t)
	text := func(s string) string { return s }
	const base = `{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/app.wasm"]}}`
	config := w.blob("x", wasmConfig, []byte("{}"))
	good := w.blob("x", wasmLayer, wasm)
	foreign := good
	foreign.URLs = []string{"http://127.0.0.1:1/elsewhere"}
	huge := good
	huge.Size = MaxLayer + 1
	plain := w.blob("x", types.OCILayer, []byte("not compressed, no tar either, long enough to be read as a header of one: "+strings.Repeat("x", 600)))
	zstd := w.blob("x", types.OCILayerZStd, []byte("z"))
	appConfig := w.blob("x", types.OCIConfigJSON, []byte(base))
	some := mustHash(t, w.manifest("x", "some", manifest(config)))
	two := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{
		{MediaType: types.OCIManifestSchema1, Size: 1, Digest: some, Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
		{MediaType: types.OCIManifestSchema1, Size: 1, Digest: some, Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}},
	}}
	tests := []struct {
		name string
		push func(tag string)
		is   error
		says []string
	}{
		{"a container image", func(tag string) {
			w.image("x", tag, `{"architecture":"amd64","os":"linux","config":{"Cmd":["nginx","-g","daemon off;"]}}`, layer(t, file{name: "a", content: "b"}))
		}, ErrNotWasm, []string{"linux/amd64", `"nginx"`, "application/wasm"}},
		{"a container image of many large layers", func(tag string) {
			config := w.blob("x", types.OCIConfigJSON, []byte(`{"architecture":"amd64","os":"linux","config":{"Cmd":["nginx"]}}`))
			large, elsewhere := huge, foreign
			large.MediaType, elsewhere.MediaType = types.OCILayer, types.OCILayer
			w.manifest("x", tag, manifest(config, append(slices.Repeat([]v1.Descriptor{large}, MaxLayers), elsewhere)...))
		}, ErrNotWasm, []string{"linux/amd64"}},
		{"another artifact", func(tag string) {
			w.manifest("x", tag, manifest(w.blob("x", "application/vnd.cncf.helm.config.v1+json", []byte("{}")), w.blob("x", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", []byte("c"))))
		}, ErrUnsupported, []string{"helm.config", "helm.chart", "application/wasm"}},
		{"two modules", func(tag string) { w.manifest("x", tag, manifest(config, good, good)) }, ErrUnsupported, []string{"2 of its layers are modules"}},
		{"no layers", func(tag string) { w.manifest("x", tag, manifest(config)) }, ErrUnsupported, []string{"0 layers"}},
		{"a layer from elsewhere", func(tag string) { w.manifest("x", tag, manifest(config, foreign)) }, ErrUnsupported, []string{"elsewhere"}},
		{"a layer too large", func(tag string) { w.manifest("x", tag, manifest(config, huge)) }, ErrTooLarge, []string{fmt.Sprint(MaxLayer)}},
		{"no module at all", func(tag string) { w.artifact("x", tag, []byte("#!/bin/sh\n")) }, ErrUnsupported, []string{"not_wasm"}},
		{"an index of containers", func(tag string) { w.manifest("x", tag, &two) }, ErrNotWasm, []string{"linux/amd64", "linux/arm64"}},
		{"entrypoint missing in the layers", func(tag string) { w.image("x", tag, base, layer(t, file{name: "b.wasm", content: "x"})) }, ErrUnsupported, []string{"/app.wasm"}},
		{"entrypoint is a link out", func(tag string) {
			w.image("x", tag, base, layer(t, file{name: "app.wasm", content: "/etc/passwd", kind: tar.TypeSymlink}))
		}, ErrUnsupported, []string{"/app.wasm"}},
		{"entrypoint removed above", func(tag string) {
			w.image("x", tag, base, layer(t, file{name: "app.wasm", content: text(string(wasm))}), layer(t, file{name: ".wh.app.wasm"}))
		}, ErrUnsupported, []string{"/app.wasm"}},
		{"everything removed above", func(tag string) {
			w.image("x", tag, base, layer(t, file{name: "app.wasm", content: text(string(wasm))}), layer(t, file{name: ".wh..wh..opq"}))
		}, ErrUnsupported, []string{"/app.wasm"}},
		{"several files, none named", func(tag string) {
			w.image("x", tag, `{"architecture":"wasm32","config":{}}`, layer(t, file{name: "a.wasm", content: "1"}, file{name: "b.wasm", content: "2"}))
		}, ErrUnsupported, []string{"several .wasm files"}},
		{"a layer that is no tar", func(tag string) { w.manifest("x", tag, manifest(appConfig, plain)) }, ErrUnsupported, []string{"read layer"}},
		{"a layer that only says it is zstd", func(tag string) { w.manifest("x", tag, manifest(appConfig, zstd)) }, ErrUnsupported, []string{"read layer"}},
		{"config is no JSON", func(tag string) { w.image("x", tag, "]", layer(t, file{name: "app.wasm", content: "x"})) }, ErrUnsupported, []string{"config"}},
		{"nothing there", func(string) {}, ErrNotFound, nil},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tag := fmt.Sprintf("t%d", n)
			tt.push(tag)
			_, err := w.puller.Pull(context.Background(), "registry.test/x:"+tag, authn.AuthConfig{})
			if !errors.Is(err, tt.is) {
				t.Fatalf("Pull: %v, want %v", err, tt.is)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error %q does not tell %q", err, s)
				}
			}
		})
	}
	if left := w.store.List(""); len(left) != 0 {
		t.Errorf("images were recorded: %v", left)
	}
	if entries, err := os.ReadDir(w.store.blobs.dir); err != nil || len(entries) != 0 {
		t.Errorf("blobs are left: %v, %v", entries, err)
	}
}

func TestPullHoldsTheRegistryToItsWord(t *testing.T) {
	w := newWorld(t)
	w.artifact("x", "v1", wasm)
	other := bytes.Repeat([]byte("y"), len(wasm))
	bodies := map[string]func(http.ResponseWriter){
		"other bytes": func(rw http.ResponseWriter) { _, _ = rw.Write(other) },
		"cut short":   func(rw http.ResponseWriter) { _, _ = rw.Write(wasm[:4]) },
		"too long":    func(rw http.ResponseWriter) { _, _ = rw.Write(append(bytes.Clone(wasm), 'z')) },
		"endless": func(rw http.ResponseWriter) {
			for chunk := make([]byte, 1<<20); ; {
				if _, err := rw.Write(chunk); err != nil {
					return
				}
			}
		},
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			w.onRequest(func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/blobs/"+sum(wasm)) {
					return false
				}
				body(rw)
				return true
			})
			if i, err := w.puller.Pull(context.Background(), "registry.test/x:v1", authn.AuthConfig{}); err == nil {
				t.Errorf("accepted %+v", i)
			}
		})
	}
	t.Run("manifest too large", func(t *testing.T) {
		w.onRequest(func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			rw.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			_, _ = rw.Write(bytes.Repeat([]byte(" "), MaxManifest+1))
			return true
		})
		if _, err := w.puller.Pull(context.Background(), "registry.test/x:v1", authn.AuthConfig{}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Pull: %v, want ErrTooLarge", err)
		}
	})
}

func TestPullDeniedAndUnreachable(t *testing.T) {
	w := newWorld(t)
	w.onRequest(func(rw http.ResponseWriter, r *http.Request) bool {
		if _, pass, _ := r.BasicAuth(); pass == "open sesame" {
			return false
		}
		rw.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		rw.WriteHeader(http.StatusUnauthorized)
		return true
	})
	if _, err := w.puller.Pull(context.Background(), "registry.test/x:v1", authn.AuthConfig{}); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("without credentials: %v, want ErrUnauthorized", err)
	}
	if _, err := w.puller.Pull(context.Background(), "registry.test/x:v1", authn.AuthConfig{Username: "u", Password: "open sesame"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("with credentials: %v, want ErrNotFound", err)
	}
	w.srv.Close()
	if _, err := w.puller.Pull(context.Background(), "registry.test/x:v1", authn.AuthConfig{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("registry gone: %v, want ErrUnavailable", err)
	}
}

func TestConcurrentPullsAreOne(t *testing.T) {
	w := newWorld(t)
	digest := w.artifact("x", "v1", wasm)
	w.artifact("x", "v2", wasm)
	w.compiler.block = make(chan struct{})
	var wg sync.WaitGroup
	for n := range 20 {
		ref := []string{"registry.test/x:v1", "registry.test/x:v2", "registry.test/x@" + digest}[n%3]
		wg.Go(func() {
			if i, err := w.puller.Pull(context.Background(), ref, authn.AuthConfig{}); err != nil || i.ID != digest {
				t.Errorf("Pull(%s) = %v, %v", ref, i, err)
			}
		})
	}
	w.compiler.await(1)
	close(w.compiler.block)
	wg.Wait()
	if got := w.compiler.calls.Load(); got != 1 {
		t.Errorf("compiled %d times", got)
	}
	if got := w.gets.Load(); got != 1 {
		t.Errorf("the module was sent %d times", got)
	}
	if i := w.store.List(""); len(i) != 1 || len(i[0].RepoTags) != 2 {
		t.Errorf("images %+v", i)
	}
}

func TestCallerMayLeaveAndClosedPullersEnd(t *testing.T) {
	w := newWorld(t)
	w.artifact("x", "v1", wasm)
	w.compiler.block = make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error, 1)
	go func() {
		_, err := w.puller.Pull(ctx, "registry.test/x:v1", authn.AuthConfig{})
		left <- err
	}()
	w.compiler.await(1)
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller that left got %v", err)
	}
	w.puller.Close() // ends the compilation that goes on, or this test never ends
	if _, err := w.puller.Pull(context.Background(), "registry.test/x:v1", authn.AuthConfig{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a closed puller answered %v", err)
	}
}

func TestIndexForWasm(t *testing.T) {
	w := newWorld(t)
	digest := w.artifact("x", "inner", wasm)
	other := mustHash(t, w.artifact("x", "other", []byte("container")))
	w.manifest("x", "v1", &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{
		{MediaType: types.OCIManifestSchema1, Size: 1, Digest: other, Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
		{MediaType: types.OCIManifestSchema1, Size: manifestSize(t, w, digest), Digest: mustHash(t, digest), Platform: &v1.Platform{OS: "wasip1", Architecture: "wasm"}},
	}})
	if i := w.pull(t, "registry.test/x:v1"); i.ID != digest {
		t.Errorf("pulled %s, want %s", i.ID, digest)
	}
}

func mustHash(t *testing.T, digest string) v1.Hash {
	t.Helper()
	h, err := v1.NewHash(digest)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func manifestSize(t *testing.T, w *world, digest string) int64 {
	t.Helper()
	resp, err := http.Get(w.srv.URL + "/v2/x/manifests/" + digest)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestBombIsRefused(t *testing.T) {
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(z)
	if err := tw.WriteHeader(&tar.Header{Name: "filler", Size: MaxUnpacked, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	for chunk, n := make([]byte, 1<<20), 0; n < MaxUnpacked; n += len(chunk) {
		if _, err := tw.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	plain, done, err := decompress(&buf)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if _, err := findInTar(plain, "app.wasm", &budget{bytes: MaxUnpacked, entries: MaxEntries}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("findInTar: %v, want ErrTooLarge", err)
	}
}

func FuzzFindInTar(f *testing.F) {
	f.Add(layer(&testing.T{}, file{name: "../../app.wasm", content: "x"}, file{name: "b/../app.wasm", content: "y"}), "app.wasm")
	f.Add([]byte{0x1f, 0x8b, 8}, "")
	f.Fuzz(func(t *testing.T, raw []byte, want string) {
		search := func(read func(io.Reader) error) error {
			plain, done, err := decompress(bytes.NewReader(raw))
			if err != nil {
				return err
			}
			defer done()
			return read(plain)
		}
		var at *place
		err := search(func(plain io.Reader) (err error) {
			at, err = findInTar(plain, want, &budget{bytes: 1 << 20, entries: 100})
			return err
		})
		if err != nil || at == nil {
			return
		}
		if filepath.IsAbs(at.name) || strings.HasPrefix(at.name, "..") || want != "" && at.name != want {
			t.Fatalf("found %q for %q", at.name, want)
		}
		err = search(func(plain io.Reader) error {
			return takeFromTar(plain, at, func(_ string, r io.Reader) error { _, err := io.Copy(io.Discard, r); return err })
		})
		if err != nil {
			t.Fatalf("what was found cannot be read: %v", err)
		}
	})
}
