package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/petrelrun/petrel/test/dockerregistry"
)

// TestDockerRegistry pulls every layout from Debian's registry, over TLS and with a password.
func TestDockerRegistry(t *testing.T) {
	r := dockerregistry.Start(t, dockerregistry.Options{TLS: true, Auth: true})
	w := newWorld(t)
	good := authn.AuthConfig{Username: dockerregistry.User, Password: dockerregistry.Password}
	digest := r.Push(t, "team/app:v1", dockerregistry.Module(t, wasm))
	large := module(3*chunk + 99)
	r.Push(t, "team/large:v1", dockerregistry.Module(t, large))
	for n, mt := range legacyLayers {
		r.Push(t, fmt.Sprintf("team/legacy%d:v1", n), artifactOfType(t, mt))
	}
	r.Push(t, "team/image:v1", containerImage(t))

	if _, err := w.puller.Pull(context.Background(), r.Host+"/team/app:v1", good); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	ca, err := os.ReadFile(r.CA)
	if err != nil {
		t.Fatal(err)
	}
	w.puller.cfg.HostsDir = settings(t, map[string]string{filepath.Join(r.Host, "ca.crt"): string(ca)})
	if _, err := w.puller.Pull(context.Background(), r.Host+"/team/app:v1", authn.AuthConfig{}); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("without a password: %v", err)
	}
	if _, err := w.puller.Pull(context.Background(), r.Host+"/team/app:v1", authn.AuthConfig{Username: "petrel", Password: "wrong"}); !errors.Is(err, ErrUnauthorized) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong one: %v", err)
	}
	if _, err := w.puller.Pull(context.Background(), r.Host+"/team/none:v1", good); !errors.Is(err, ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
	for ref, want := range map[string]string{
		"team/app:v1": sum(wasm), "team/app@" + digest: sum(wasm), "team/app:v1@" + digest: sum(wasm), "team/large:v1": sum(large),
		"team/legacy0:v1": sum(wasm), "team/legacy1:v1": sum(wasm), "team/legacy2:v1": sum(wasm), "team/image:v1": sum(wasm),
	} {
		i, err := w.puller.Pull(context.Background(), r.Host+"/"+ref, good)
		if err != nil || i.Module != want {
			t.Errorf("%s: %+v, %v", ref, i, err)
		}
	}
	// The same through a mirror of another name, with the password that is for the registry.
	w.puller.cfg.HostsDir = settings(t, map[string]string{"docker.io/hosts.toml": fmt.Sprintf("[host.\"https://%s\"]\nca=%q\n", r.Host, r.CA)})
	if i, err := w.puller.Pull(context.Background(), "team/app:v1", good); err != nil || i.ID != digest || i.RepoTags[len(i.RepoTags)-1] != "docker.io/team/app:v1" {
		t.Errorf("through a mirror: %+v, %v", i, err)
	}
	w.noParts(t)
}

func artifactOfType(t *testing.T, mt types.MediaType) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.wasm.config.v1+json")
	img, err := mutate.AppendLayers(img, static.NewLayer(wasm, mt))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func containerImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.DockerManifestSchema2), static.NewLayer(layer(t, file{name: "app.wasm", content: string(wasm)}), types.DockerLayer))
	if err == nil {
		img, err = mutate.Config(img, v1.Config{Entrypoint: []string{"/app.wasm"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}
