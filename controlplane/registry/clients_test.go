package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
)

func serve(t *testing.T, r *Registry) (host string, client *http.Client) {
	t.Helper()
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return address.Host, server.Client()
}

// A client that nobody here wrote pushes, lists, pulls and deletes.
func TestCrane(t *testing.T) {
	host, client := serve(t, open(t, t.TempDir()))
	opts := []crane.Option{crane.Insecure, crane.WithTransport(client.Transport), crane.WithContext(t.Context())}
	image, err := random.Image(10<<10, 3)
	if err != nil {
		t.Fatal(err)
	}
	ref := host + "/team/app:v1"
	if err := crane.Push(image, ref, opts...); err != nil {
		t.Fatal(err)
	}
	tags, err := crane.ListTags(host+"/team/app", opts...)
	if err != nil || len(tags) != 1 || tags[0] != "v1" {
		t.Fatalf("tags %v, %v", tags, err)
	}
	pulled, err := crane.Pull(ref, opts...)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := image.Digest()
	if got, _ := pulled.Digest(); got != want {
		t.Errorf("pulled %s, pushed %s", got, want)
	}
	layers, err := pulled.Layers()
	if err != nil || len(layers) != 3 {
		t.Fatal(layers, err)
	}
	for _, l := range layers {
		content, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, content); err != nil { // verified against its digest as it is read
			t.Fatal(err)
		}
		content.Close()
	}
	if err := crane.Delete(host+"/team/app@"+want.String(), opts...); err != nil {
		t.Fatal(err)
	}
	if _, err := crane.Digest(ref, opts...); err == nil {
		t.Error("still there after its deletion")
	}
}

// What PutModule stored is an artifact like any other.
func TestCranePullsAModule(t *testing.T) {
	r := open(t, t.TempDir())
	digest, module := put(t, r, "default/hello", tiny)
	host, client := serve(t, r)
	opts := []crane.Option{crane.Insecure, crane.WithTransport(client.Transport), crane.WithContext(t.Context())}
	raw, err := crane.Manifest(host+"/default/hello@"+digest, opts...)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil || manifest.Layers[0].Digest.String() != module {
		t.Fatalf("%s, %v", raw, err)
	}
	if _, err := name.NewDigest(host+"/default/hello@"+digest, name.Insecure); err != nil {
		t.Fatal(err)
	}
	layer, err := crane.PullLayer(host+"/default/hello@"+module, opts...)
	if err != nil {
		t.Fatal(err)
	}
	content, err := layer.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if wasm, err := io.ReadAll(content); err != nil || !bytes.Equal(wasm, tiny) {
		t.Errorf("%q, %v", wasm, err)
	}
}

func TestCatalog(t *testing.T) {
	r := open(t, t.TempDir())
	host, client := serve(t, r)
	opts := []crane.Option{crane.Insecure, crane.WithTransport(client.Transport), crane.WithContext(t.Context())}
	if names, err := crane.Catalog(host, opts...); err != nil || len(names) != 0 {
		t.Fatalf("an empty registry: %v, %v", names, err)
	}
	for _, name := range []string{"default/b", "default/a", "a"} {
		put(t, r, name, tiny)
	}
	names, err := crane.Catalog(host, opts...)
	if err != nil || strings.Join(names, " ") != "a default/a default/b" {
		t.Errorf("%v, %v", names, err)
	}
	resp := send(t, client, http.MethodGet, "http://"+host+"/v2/_catalog?n=2", nil)
	page, err := io.ReadAll(resp.Body)
	if err != nil || strings.Contains(string(page), "default/b") || resp.Header.Get("Link") != `</v2/_catalog?last=default%2Fa&n=2>; rel="next"` {
		t.Errorf("%s, Link %s, %v", page, resp.Header.Get("Link"), err)
	}
	resp = send(t, client, http.MethodGet, "http://"+host+"/v2/_catalog?last=default%2Fa&n=2", nil)
	if page, err = io.ReadAll(resp.Body); err != nil || string(page) != `{"repositories":["default/b"]}`+"\n" {
		t.Errorf("%s, %v", page, err)
	}
	if resp := send(t, client, http.MethodGet, "http://"+host+"/v2/_catalog?n=none", nil); resp.StatusCode != http.StatusBadRequest {
		t.Error(resp.Status)
	}
}

// A module that was pushed is the very one that PutModule makes.
func TestPush(t *testing.T) {
	r := open(t, t.TempDir())
	host, client := serve(t, r)
	want, _ := put(t, r, "default/local", tiny)
	for range 2 {
		got, err := Push(t.Context(), client, "http://"+host+"/", "default/pushed", bytes.NewReader(tiny))
		if err != nil || got != want {
			t.Fatalf("%s, %v, want %s", got, err, want)
		}
	}
	if _, err := Push(t.Context(), client, "http://"+host, "default/big", bytes.NewReader(make([]byte, 1<<20+1))); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("beyond the limit: %v", err)
	}
}

// Plain curl says that it takes anything.
func TestManifestForAnyAccept(t *testing.T) {
	r := open(t, t.TempDir())
	digest, _ := put(t, r, "default/hello", tiny)
	host, client := serve(t, r)
	for accept, want := range map[string]int{"*/*": 200, "": 200, "application/vnd.oci.image.manifest.v1+json": 200, "text/html": 404} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/default/hello/manifests/"+digest, nil)
		if err != nil {
			t.Fatal(err)
		}
		if accept != "" {
			req.Header.Set("Accept", accept)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Accept %q: %s, want %d", accept, resp.Status, want)
		}
	}
}

func TestOpenModuleOfAnotherKind(t *testing.T) {
	r := open(t, t.TempDir())
	host, client := serve(t, r)
	image, err := random.Image(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := crane.Push(image, host+"/a:v1", crane.Insecure, crane.WithTransport(client.Transport)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.OpenModule(t.Context(), "a", "v1"); err == nil || !strings.Contains(err.Error(), ErrNotModule.Error()) {
		t.Errorf("opened a container image as a module: %v", err)
	}
}

func TestRepositoryNames(t *testing.T) {
	dir := t.TempDir()
	host, client := serve(t, open(t, dir))
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/v2/", 200},
		{http.MethodGet, "/v2/none/tags/list", 404},
		{http.MethodGet, "/v2/none/manifests/v1", 404},
		{http.MethodHead, "/v2/none/blobs/" + digest, 404},
		{http.MethodDelete, "/v2/none/manifests/v1", 404},
		{http.MethodPost, "/v2/Upper/blobs/uploads/", 400},
		{http.MethodPost, "/v2/a/index.json/blobs/uploads/", 400},
		{http.MethodPost, "/v2/" + strings.Repeat("a", maxNameLength+1) + "/blobs/uploads/", 400},
		{http.MethodPost, "/v2/mine/blobs/uploads/?mount=" + digest + "&from=none", 202},
	} {
		if resp := send(t, client, c.method, "http://"+host+c.path, nil); resp.StatusCode != c.want {
			t.Errorf("%s %s: %s, want %d", c.method, c.path, resp.Status, c.want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "mine" {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestLimits(t *testing.T) {
	r := open(t, t.TempDir())
	host, client := serve(t, r)
	base := "http://" + host + "/v2/default/big"
	// unsized hides the length, so that the body goes out in chunks.
	unsized := func(n int) io.Reader { return io.MultiReader(strings.NewReader(strings.Repeat("x", n))) }
	start := func() string {
		resp := send(t, client, http.MethodPost, base+"/blobs/uploads/", nil)
		if resp.StatusCode != http.StatusAccepted {
			t.Fatal(resp.Status)
		}
		return "http://" + host + resp.Header.Get("Location")
	}
	digest := "sha256:" + strings.Repeat("0", 64)
	cases := map[string]func() *http.Response{
		"manifest by its length": func() *http.Response {
			return send(t, client, http.MethodPut, base+"/manifests/v1", strings.NewReader(strings.Repeat("x", 65<<10)))
		},
		"blob by its length": func() *http.Response {
			return send(t, client, http.MethodPost, base+"/blobs/uploads/?digest="+digest, strings.NewReader(strings.Repeat("x", 1<<20+1)))
		},
		"blob in chunks": func() *http.Response {
			return send(t, client, http.MethodPost, base+"/blobs/uploads/?digest="+digest, unsized(1<<20+1))
		},
		"blob in pieces": func() *http.Response {
			resp := send(t, client, http.MethodPatch, start(), unsized(1<<20))
			if resp.StatusCode != http.StatusAccepted {
				t.Fatal(resp.Status)
			}
			return send(t, client, http.MethodPatch, "http://"+host+resp.Header.Get("Location"), unsized(1))
		},
	}
	for name, request := range cases {
		t.Run(name, func(t *testing.T) {
			resp := request()
			var body struct {
				Errors []struct{ Code, Message string }
			}
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusRequestEntityTooLarge || len(body.Errors) != 1 || !strings.Contains(body.Errors[0].Message, "limit") {
				t.Errorf("%s %+v", resp.Status, body)
			}
		})
	}
}

func send(t *testing.T, client *http.Client, method, target string, body io.Reader) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}
