package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

func TestImagesSurviveARestart(t *testing.T) {
	w := newWorld(t)
	digest := w.artifact("x", "v1", wasm)
	before := w.pull(t, "registry.test/x:v1")
	w.srv.Close()
	if dropped := w.open(t); len(dropped) != 0 {
		t.Fatalf("dropped %v", dropped)
	}
	for _, ref := range []string{"registry.test/x:v1", "registry.test/x@" + digest, digest, digest[:20], strings.TrimPrefix(digest, algorithm)[:12]} {
		if i, err := w.store.Get(ref); err != nil || i.ID != before.ID || i.Kind != "command" {
			t.Errorf("Get(%s) = %+v, %v", ref, i, err)
		}
	}
	// A pull asks the registry, also for what is here: whether the caller may have it is the registry's to say.
	if i, err := w.puller.Pull(context.Background(), "registry.test/x@"+digest, authn.AuthConfig{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("pulled %v from a registry that is gone, %v", i, err)
	}
	for _, ref := range []string{"registry.test/x:v2", "registry.test/y:v1", "sha256:", "sha256:00", "", "::"} {
		if _, err := w.store.Get(ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get(%q): %v, want ErrNotFound", ref, err)
		}
	}
}

func TestRottenModuleIsForgottenAndPulledAgain(t *testing.T) {
	w := newWorld(t)
	digest := w.artifact("x", "v1", wasm)
	i := w.pull(t, "registry.test/x:v1")
	rotten := bytes.Clone(wasm)
	rotten[9] ^= 1
	if err := os.WriteFile(w.store.ModulePath(i), rotten, 0o600); err != nil {
		t.Fatal(err)
	}
	w.open(t)
	if _, err := w.store.Get(digest); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Get: %v, want ErrCorrupt", err)
	}
	if _, err := w.store.Get(digest); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Get again: %v, want ErrNotFound", err)
	}
	i = w.pull(t, "registry.test/x@"+digest)
	if got, err := os.ReadFile(w.store.ModulePath(i)); err != nil || !bytes.Equal(got, wasm) {
		t.Errorf("module %q, %v", got, err)
	}
}

func TestOpenDropsWhatIsIncompleteAndSweeps(t *testing.T) {
	w := newWorld(t)
	w.artifact("x", "v1", wasm)
	other := append(bytes.Clone(wasm), "other"...)
	w.artifact("y", "v1", other)
	gone := w.pull(t, "registry.test/x:v1")
	kept := w.pull(t, "registry.test/y:v1")
	for name, content := range map[string]string{
		filepath.Join(w.store.dir, recordFile(sum([]byte("torn")))):      `{"id":`,
		filepath.Join(w.store.blobs.dir, tmpPrefix+"1"):                  "unfinished",
		filepath.Join(w.store.blobs.dir, strings.Repeat("0", 64)):        "nobody's",
		filepath.Join(w.store.dir, recordFile(kept.ID)) + ".tmp":         "unfinished",
		filepath.Join(w.store.dir, recordFile(sum([]byte("someone's")))): `{"id":"` + kept.ID + `"}`,
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(w.store.ModulePath(gone)); err != nil {
		t.Fatal(err)
	}
	if dropped := w.open(t); len(dropped) != 4 {
		t.Errorf("dropped %d: %v", len(dropped), dropped)
	}
	if list := w.store.List(""); len(list) != 1 || list[0].ID != kept.ID {
		t.Errorf("images %+v", list)
	}
	entries, err := os.ReadDir(w.store.blobs.dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d blobs are left, %v; want manifest and module", len(entries), err)
	}
}

func TestTagMoves(t *testing.T) {
	w := newWorld(t)
	w.artifact("x", "v1", wasm)
	first := w.pull(t, "registry.test/x:v1")
	w.artifact("x", "v1", append(bytes.Clone(wasm), "newer"...))
	second := w.pull(t, "registry.test/x:v1")
	if first.ID == second.ID {
		t.Fatal("the tag was not asked again")
	}
	if i, err := w.store.Get("registry.test/x:v1"); err != nil || i.ID != second.ID {
		t.Errorf("the tag names %v, %v", i, err)
	}
	if i, err := w.store.Get(first.ID); err != nil || len(i.RepoTags) != 0 {
		t.Errorf("the older image: %+v, %v", i, err)
	}
	if len(first.RepoTags) != 1 {
		t.Error("an image that was handed out was changed")
	}
	w.open(t)
	if i, err := w.store.Get("registry.test/x:v1"); err != nil || i.ID != second.ID {
		t.Errorf("after a restart the tag names %v, %v", i, err)
	}
}

func TestRemoveKeepsSharedBlobs(t *testing.T) {
	w := newWorld(t)
	w.artifact("x", "v1", wasm)
	legacy := w.blob("y", legacyLayers[0], wasm)
	w.manifest("y", "v1", manifest(w.blob("y", wasmConfig, []byte("{}")), legacy))
	x, y := w.pull(t, "registry.test/x:v1"), w.pull(t, "registry.test/y:v1")
	before, _, err := w.store.Usage()
	if err != nil || before == 0 {
		t.Fatalf("usage %d, %v", before, err)
	}
	for range 2 {
		if unused, err := w.store.Remove("registry.test/x:v1"); err != nil || unused != "" {
			t.Fatalf("Remove = %q, %v: y has the same module", unused, err)
		}
	}
	if _, err := w.store.Get(x.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("x is still there: %v", err)
	}
	if _, err := os.Stat(w.store.ModulePath(y)); err != nil {
		t.Errorf("y lost its module: %v", err)
	}
	if unused, err := w.store.Remove(y.ID); err != nil || unused != y.Module {
		t.Fatalf("Remove = %q, %v", unused, err)
	}
	if entries, err := os.ReadDir(w.store.blobs.dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	if after, _, err := w.store.Usage(); err != nil || after >= before {
		t.Errorf("usage %d → %d, %v", before, after, err)
	}
}

func TestRemoveDuringAPullKeepsItsBlobs(t *testing.T) {
	w := newWorld(t)
	w.artifact("x", "v1", wasm)
	legacy := w.blob("y", legacyLayers[0], wasm)
	w.manifest("y", "v1", manifest(w.blob("y", wasmConfig, []byte("{}")), legacy))
	w.pull(t, "registry.test/x:v1")
	w.compiler.block = make(chan struct{})
	pulled := make(chan error, 1)
	go func() {
		_, err := w.puller.Pull(context.Background(), "registry.test/y:v1", authn.AuthConfig{})
		pulled <- err
	}()
	w.compiler.await(2)
	if _, err := w.store.Remove("registry.test/x:v1"); err != nil {
		t.Fatal(err)
	}
	close(w.compiler.block)
	if err := <-pulled; err != nil {
		t.Fatal(err)
	}
	y, err := w.store.Get("registry.test/y:v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(w.store.ModulePath(y)); err != nil {
		t.Errorf("the module that both share is gone: %v", err)
	}
}

func TestReferences(t *testing.T) {
	for ref, want := range map[string]string{
		"alpine":              "docker.io/library/alpine:latest",
		"docker.io/a/b":       "docker.io/a/b:latest",
		"127.0.0.1:5000/a:v1": "127.0.0.1:5000/a:v1",
		"registry.petrel.internal/ns/app@sha256:" + strings.Repeat("a", 64):    "registry.petrel.internal/ns/app@sha256:" + strings.Repeat("a", 64),
		"registry.petrel.internal/ns/app:v1@sha256:" + strings.Repeat("a", 64): "registry.petrel.internal/ns/app@sha256:" + strings.Repeat("a", 64),
	} {
		r, err := parse(ref)
		if err != nil || canonical(r) != want {
			t.Errorf("parse(%s) = %v, %v; want %s", ref, r, err, want)
		}
	}
	for _, ref := range []string{"", "UPPER/case", "a b", "a@sha256:short", "::"} {
		if r, err := parse(ref); !errors.Is(err, ErrReference) {
			t.Errorf("parse(%q) = %v, %v", ref, r, err)
		}
	}
}

func TestMirrors(t *testing.T) {
	m := Mirrors{}
	if err := m.Add("registry.petrel.internal=http://127.0.0.1:8080"); err != nil {
		t.Fatal(err)
	}
	p := &Puller{cfg: Config{Mirrors: m}}
	for ref, want := range map[string]string{
		"registry.petrel.internal/ns/app:v1": "[http://127.0.0.1:8080/v2]",
		"other.test/ns/app:v1":               "[https://other.test/v2]",
		"app:v1":                             "[https://registry-1.docker.io/v2]",
		"localhost:5000/app":                 "[https://localhost:5000/v2 http://localhost:5000/v2]",
		"10.0.0.1:5000/app":                  "[https://10.0.0.1:5000/v2]",
	} {
		r, err := parse(ref)
		if err != nil {
			t.Fatal(err)
		}
		hosts, err := p.hosts(r.Context().Registry)
		if got := bases(hosts); err != nil || got != want {
			t.Errorf("hosts of %s: %s, %v; want %s", ref, got, err, want)
		}
	}
	for _, spec := range []string{"", "host", "=http://x", "h=ftp://x", "h=http://", "h=http://x/path", "h=http://u:p@x", "h=://"} {
		if err := m.Add(spec); err == nil {
			t.Errorf("Add(%q) took it", spec)
		}
	}
}

func TestServes(t *testing.T) {
	for _, tt := range []struct {
		address, ref string
		want         bool
	}{
		{"r.test", "r.test/a:v1", true},
		{"https://r.test/v1/", "r.test/a", true},
		{"r.test:5000", "r.test/a", false},
		{"other.test", "r.test/a", false},
		{"https://index.docker.io/v1/", "nginx", true},
		{"docker.io", "docker.io/library/nginx", true},
		{"registry-1.docker.io", "nginx", true},
		{"", "nginx", false},
		{"r.test", "Not A Name", false},
	} {
		if got := Serves(tt.address, tt.ref); got != tt.want {
			t.Errorf("Serves(%q, %q) = %t", tt.address, tt.ref, got)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	id := sum([]byte("m"))
	good, err := json.Marshal(&Image{ID: id, Module: sum(wasm), Blobs: []string{id, sum(wasm)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"id":"` + id + `","blobs":["sha256:../../x"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		i, err := decodeRecord(raw, recordFile(id))
		if err != nil {
			return
		}
		if i.ID != id || !slices.Contains(i.Blobs, i.Module) {
			t.Fatalf("accepted %+v", i)
		}
		for _, d := range i.Blobs {
			if strings.ContainsAny(d, "/.") {
				t.Fatalf("accepted the digest %q", d)
			}
		}
	})
}
