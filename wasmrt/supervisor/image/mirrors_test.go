package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

// TestMirrorsAreTriedInTurn walks the ways in which a mirror may fail its registry.
func TestMirrorsAreTriedInTurn(t *testing.T) {
	for name, tt := range map[string]struct {
		capabilities string
		mirror       func(rw http.ResponseWriter, r *http.Request) bool
		upstream     string // what it is asked for
	}{
		"the mirror has it":         {`["pull", "resolve"]`, nil, ""},
		"the mirror resolves not":   {`["pull"]`, nil, "manifests"},
		"the mirror only resolves":  {`["resolve"]`, nil, "blobs"},
		"the mirror lacks it":       {`["pull", "resolve"]`, status(http.StatusNotFound, ""), "manifests blobs"},
		"the mirror lacks the blob": {`["pull", "resolve"]`, status(http.StatusNotFound, "/blobs/"), "blobs"},
		"the mirror refuses":        {`["pull", "resolve"]`, status(http.StatusForbidden, ""), "manifests blobs"},
		"the mirror has other bytes": {`["pull", "resolve"]`, func(rw http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				_, _ = rw.Write(make([]byte, len(wasm)))
				return true
			}
			return false
		}, "blobs"},
	} {
		t.Run(name, func(t *testing.T) {
			w, mirror := newWorld(t), newRegistry(t)
			digest := w.artifact("x", "v1", wasm)
			mirror.artifact("proxy/x", "v1", wasm)
			mirror.onRequest(func(rw http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, "/v2/proxy/") && r.Method == http.MethodGet && r.URL.Query().Get("ns") != "r.test" {
					t.Errorf("the mirror was asked without the registry's name: %s", r.URL)
				}
				return tt.mirror != nil && tt.mirror(rw, r)
			})
			var mu sync.Mutex
			var asked []string
			w.onRequest(func(_ http.ResponseWriter, r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				for _, kind := range []string{"manifests", "blobs"} {
					if strings.Contains(r.URL.Path, "/"+kind+"/") {
						asked = append(asked, kind)
					}
				}
				return false
			})
			w.puller.cfg.HostsDir = settings(t, map[string]string{"r.test/hosts.toml": fmt.Sprintf("server=%q\n[host.%q]\ncapabilities=%s\n", w.srv.URL, mirror.srv.URL+"/v2/proxy", tt.capabilities)})
			i := w.pull(t, "r.test/x:v1")
			if i.ID != digest || i.RepoTags[0] != "r.test/x:v1" {
				t.Errorf("image %+v", i)
			}
			if got := strings.Join(asked, " "); got != tt.upstream {
				t.Errorf("the registry was asked for %q, want %q", got, tt.upstream)
			}
		})
	}
}

func status(code int, only string) func(http.ResponseWriter, *http.Request) bool {
	return func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/v2/proxy") && strings.Contains(r.URL.Path, only) {
			rw.WriteHeader(code)
			return true
		}
		return false
	}
}

// TestMirrorsErrorsAreTold: of several hosts the most telling failure names the pull's, and each host is named.
func TestMirrorsErrorsAreTold(t *testing.T) {
	w, mirror := newWorld(t), newRegistry(t)
	mirror.srv.Close()
	w.puller.cfg.HostsDir = settings(t, map[string]string{"r.test/hosts.toml": fmt.Sprintf("server=%q\n[host.%q]\n", w.srv.URL, mirror.srv.URL)})
	_, err := w.puller.Pull(context.Background(), "r.test/x:v1", authn.AuthConfig{})
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), mirror.srv.URL) || !strings.Contains(err.Error(), w.srv.URL) {
		t.Errorf("pull: %v", err)
	}
	w.puller.cfg.HostsDir = settings(t, map[string]string{"r.test/hosts.toml": fmt.Sprintf("server=%q\ncapabilities=[]\n", w.srv.URL)})
	if _, err = w.puller.Pull(context.Background(), "r.test/x:v1", authn.AuthConfig{}); !errors.Is(err, ErrConfig) {
		t.Errorf("no host may resolve: %v", err)
	}
}
