package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if putUntilKilled() {
		return
	}
	goleak.VerifyTestMain(m)
}

// tiny is an empty WebAssembly module.
var tiny = []byte("\x00asm\x01\x00\x00\x00")

func open(t *testing.T, dir string) *Registry {
	t.Helper()
	r, err := New(Config{Dir: dir, MaxBlob: 1 << 20, MaxManifest: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func put(t *testing.T, r *Registry, repository string, wasm []byte) (manifest, module string) {
	t.Helper()
	manifest, module, err := r.PutModule(t.Context(), repository, bytes.NewReader(wasm), nil)
	if err != nil {
		t.Fatal(err)
	}
	return manifest, module
}

// The digests are spelled out: a change of the layout would give every deployed module another name.
func TestPutModuleLayout(t *testing.T) {
	r := open(t, t.TempDir())
	manifest, module := put(t, r, "default/hello", tiny)
	if want := "sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476"; module != want {
		t.Errorf("module digest %s, want %s", module, want)
	}
	if want := "sha256:1a020377cfa39cd95aa6225a307e6abf397d32d166ca0e0d9c23c7e328688e27"; manifest != want {
		t.Errorf("manifest digest %s, want %s", manifest, want)
	}
	out, err := r.call(t.Context(), http.MethodGet, "/v2/default/hello/manifests/"+manifest, "", nil, 0)
	if err != nil || out.status != http.StatusOK {
		t.Fatal(out.status, err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(out.body.Bytes(), &m); err != nil {
		t.Fatal(err)
	}
	if m.Config.MediaType != ConfigMediaType || len(m.Layers) != 1 || m.Layers[0].MediaType != LayerMediaType {
		t.Errorf("manifest %s", out.body.String())
	}
	config, err := r.call(t.Context(), http.MethodGet, "/v2/default/hello/blobs/"+m.Config.Digest.String(), "", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"created":"1970-01-01T00:00:00Z","architecture":"wasm","os":"wasip1","layerDigests":["` + module + `"],"component":null}`
	if got := config.body.String(); got != want {
		t.Errorf("config %s, want %s", got, want)
	}
}

func TestPutModuleIsIdempotent(t *testing.T) {
	r := open(t, t.TempDir())
	first, _ := put(t, r, "default/hello", tiny)
	again, _ := put(t, r, "default/hello", tiny)
	if first != again {
		t.Errorf("the same bytes gave %s and %s", first, again)
	}
	other, _ := put(t, r, "default/hello", append([]byte{}, append(tiny, 0, 1, 0)...))
	if other == first {
		t.Error("other bytes gave the same digest")
	}
	halfRead := bytes.NewReader(tiny)
	if _, err := io.CopyN(io.Discard, halfRead, 3); err != nil {
		t.Fatal(err)
	}
	if third, _, err := r.PutModule(t.Context(), "default/hello", halfRead, nil); err != nil || third != first {
		t.Errorf("a reader that is not at its start gave %s, %v", third, err)
	}
	annotated, _, err := r.PutModule(t.Context(), "default/hello", bytes.NewReader(tiny), map[string]string{"a": "b"})
	if err != nil || annotated == first {
		t.Errorf("annotations made no difference: %s, %v", annotated, err)
	}
}

func TestModulesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	digest, _ := put(t, r, "default/hello", tiny)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = open(t, dir)
	got, wasm, err := r.OpenModule(t.Context(), "default/hello", digest)
	if err != nil {
		t.Fatal(err)
	}
	defer wasm.Close()
	raw, err := io.ReadAll(wasm)
	if err != nil || got != digest || !bytes.Equal(raw, tiny) {
		t.Errorf("got %s, %q, %v", got, raw, err)
	}
}

func TestConcurrentPuts(t *testing.T) {
	r := open(t, t.TempDir())
	const pushers, repositories = 24, 3
	digests := make([]string, pushers)
	var wg sync.WaitGroup
	for i := range pushers {
		wg.Go(func() {
			wasm := append(bytes.Clone(tiny), 0, byte(1+i/2), 0)
			var err error
			digests[i], _, err = r.PutModule(t.Context(), fmt.Sprintf("default/app-%d", i%repositories), bytes.NewReader(wasm), nil)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, digest := range digests {
		_, wasm, err := r.OpenModule(t.Context(), fmt.Sprintf("default/app-%d", i%repositories), digest)
		if err != nil {
			t.Error(err)
			continue
		}
		wasm.Close()
	}
}

func TestOpenModuleErrors(t *testing.T) {
	r := open(t, t.TempDir())
	digest, _ := put(t, r, "default/hello", tiny)
	for _, c := range []struct{ repository, reference string }{
		{"default/other", digest},
		{"default/hello", "v1"},
		{"default/hello", "sha256:" + strings.Repeat("0", 64)},
	} {
		if _, _, err := r.OpenModule(t.Context(), c.repository, c.reference); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %v, want fs.ErrNotExist", c, err)
		}
	}
}

func TestDeleteModule(t *testing.T) {
	r := open(t, t.TempDir())
	digest, _ := put(t, r, "default/hello", tiny)
	for range 2 { // the second finds nothing, which is what was wanted
		if err := r.DeleteModule(t.Context(), "default/hello", digest); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := r.OpenModule(t.Context(), "default/hello", digest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	// Its bytes may come back at any time.
	if again, _ := put(t, r, "default/hello", tiny); again != digest {
		t.Errorf("came back as %s", again)
	}
}

func TestClosedRegistry(t *testing.T) {
	r := open(t, t.TempDir())
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.PutModule(t.Context(), "a", bytes.NewReader(tiny), nil); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("put into a closed registry: %v", err)
	}
}

func TestConfigValidate(t *testing.T) {
	for _, c := range []Config{{}, {Dir: "d", MaxBlob: -1}, {Dir: "d", MaxManifest: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
