package image

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// TestHostileRegistries: each ends soon, as an error that says what was wrong and nothing that the registry smuggled.
func TestHostileRegistries(t *testing.T) {
	inner := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "SECRET of a service inside", http.StatusTeapot)
	}))
	t.Cleanup(inner.Close)
	isBlob := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/blobs/"+sum(wasm)) }
	tests := map[string]struct {
		serve func(rw http.ResponseWriter, r *http.Request) bool
		is    error
		says  string
	}{
		"redirects without end": {func(rw http.ResponseWriter, r *http.Request) bool {
			http.Redirect(rw, r, r.URL.Path+"/x", http.StatusTemporaryRedirect)
			return true
		}, ErrUnavailable, "redirects"},
		"blobs redirect without end": {func(rw http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				http.Redirect(rw, r, r.URL.Path+"/x", http.StatusTemporaryRedirect)
				return true
			}
			return false
		}, ErrUnavailable, "more than 5 redirects"},
		"redirects to a service inside": {func(rw http.ResponseWriter, r *http.Request) bool {
			if isBlob(r) {
				http.Redirect(rw, r, inner.URL, http.StatusTemporaryRedirect)
			}
			return isBlob(r)
		}, ErrUnavailable, "418"},
		"redirects to a cloud's metadata": {func(rw http.ResponseWriter, r *http.Request) bool {
			if isBlob(r) {
				http.Redirect(rw, r, "http://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect)
			}
			return isBlob(r)
		}, ErrUnavailable, "link-local"},
		"a body that drips": {func(rw http.ResponseWriter, r *http.Request) bool {
			if !isBlob(r) {
				return false
			}
			rw.WriteHeader(http.StatusOK)
			for i := range wasm { // a byte now and then, so that some always comes
				_, _ = rw.Write(wasm[i : i+1])
				_ = http.NewResponseController(rw).Flush()
				select {
				case <-r.Context().Done():
					return true
				case <-time.After(200 * time.Millisecond):
				}
			}
			return true
		}, ErrUnavailable, "too slowly"},
		"a manifest that stops": {func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			rw.Header().Set("Content-Length", "1000")
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
			return true
		}, ErrUnavailable, "too slowly"},
		"a manifest of another digest": {func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			rw.Header().Set("Docker-Content-Digest", sum([]byte("other")))
			_, _ = rw.Write([]byte(`{"mediaType":"application/vnd.oci.image.manifest.v1+json"}`))
			return true
		}, ErrUnavailable, "has the content of"},
		"a manifest that is an index, too": {func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			rw.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			_, _ = rw.Write([]byte(`{"manifests":[],"layers":[]}`))
			return true
		}, ErrUnsupported, "at once"},
		"a manifest of two types": {func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			rw.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			_, _ = rw.Write([]byte(`{"mediaType":"application/vnd.oci.image.manifest.v1+json"}`))
			return true
		}, ErrUnsupported, "the registry says"},
		"a manifest that is no JSON": {func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			_, _ = rw.Write([]byte("<html>"))
			return true
		}, ErrUnsupported, "cannot be read"},
		"an error of a megabyte": {func(rw http.ResponseWriter, _ *http.Request) bool {
			rw.WriteHeader(http.StatusBadRequest)
			_, _ = rw.Write([]byte(`{"errors":[{"code":"X\u001b[2J","message":"` + strings.Repeat("SECRET", 1<<17) + `"}]}`))
			return true
		}, ErrUnavailable, "registry"},
		"a token server inside": {func(rw http.ResponseWriter, _ *http.Request) bool {
			rw.Header().Set("WWW-Authenticate", `Bearer realm="`+strings.Replace(inner.URL, "127.0.0.1", "127.0.0.2", 1)+`/token"`)
			rw.WriteHeader(http.StatusUnauthorized)
			return true
		}, ErrUnavailable, "private or link-local"},
		"busy": {func(rw http.ResponseWriter, _ *http.Request) bool {
			rw.WriteHeader(http.StatusTooManyRequests)
			return true
		}, ErrUnavailable, "429"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.puller.cfg.stallTime = 500 * time.Millisecond
			w.artifact("x", "v1", wasm)
			w.onRequest(tt.serve)
			begun := time.Now()
			_, err := w.puller.Pull(context.Background(), "registry.test/x:v1", authn.AuthConfig{Username: "u", Password: "PASSWORD"})
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %v with %q", err, tt.is, tt.says)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			if err != nil && (strings.Contains(err.Error(), "SECRET of") || strings.Contains(err.Error(), "PASSWORD") || strings.ContainsRune(err.Error(), '\x1b') || len(err.Error()) > 4*maxTold) {
				t.Errorf("the error tells too much: %.2000q", err)
			}
			if entries := w.store.List(""); len(entries) != 0 {
				t.Errorf("recorded %v", entries)
			}
		})
	}
}

// TestCredentialsStayWithTheirHost: whoever is redirected to is not shown them, nor the headers of the settings.
func TestCredentialsStayWithTheirHost(t *testing.T) {
	w := newWorld(t)
	w.artifact("x", "v1", wasm)
	var told atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("X-Key") != "" {
			told.Add(1)
		}
		_, _ = rw.Write(wasm)
	}))
	defer elsewhere.Close()
	var shown atomic.Int64
	w.onRequest(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("X-Key") != "k" {
			t.Errorf("%s without the header of the settings", r.URL)
		}
		if _, password, _ := r.BasicAuth(); password == "p" {
			shown.Add(1)
		} else {
			rw.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			rw.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(rw, r, elsewhere.URL, http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	w.puller.cfg.HostsDir = settings(t, map[string]string{"r.test/hosts.toml": "server=\"" + w.srv.URL + "\"\n[header]\nx-key=\"k\"\n"})
	if _, err := w.puller.Pull(context.Background(), "r.test/x:v1", authn.AuthConfig{Username: "u", Password: "p"}); err != nil {
		t.Fatal(err)
	}
	if shown.Load() == 0 || told.Load() != 0 {
		t.Errorf("shown %d times to the registry, %d times to another", shown.Load(), told.Load())
	}
}

// TestTLSIsNotLeft: a registry that is asked over TLS cannot send a pull into the open.
func TestTLSIsNotLeft(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the open server was asked") }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		http.Redirect(rw, r, plain.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer secure.Close()
	w := newWorld(t)
	w.puller.cfg.HostsDir = settings(t, map[string]string{"r.test/hosts.toml": "skip_verify = true\nserver = \"" + secure.URL + "\"\n"})
	_, err := w.puller.Pull(context.Background(), "r.test/x:v1", authn.AuthConfig{})
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, errNoTLS) {
		t.Errorf("pull: %v", err)
	}
}
