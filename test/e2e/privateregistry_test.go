package e2e

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/test/dockerregistry"
	"github.com/petrelrun/petrel/test/toolchain"
)

// pulls is a pod that runs a module of another registry, with a pull secret or without.
const pulls = `
apiVersion: v1
kind: Pod
metadata: {name: $NAME}
spec:
  $SECRETS
  containers:
  - name: server
    image: $IMAGE
    ports: [{containerPort: 8080}]
`

func (w *world) pulls(name, image, secret string) {
	w.Helper()
	secrets := "imagePullSecrets: []"
	if secret != "" {
		secrets = "imagePullSecrets: [{name: " + secret + "}]"
	}
	w.apply(strings.NewReplacer("$NAME", name, "$IMAGE", image, "$SECRETS", secrets).Replace(pulls))
}

// settle tells the node of a registry's authority.
func (w *world) settle(host, ca string) {
	w.Helper()
	raw, err := os.ReadFile(ca)
	dir := filepath.Join(w.cluster.DataDir(), "certs.d", host)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "ca.crt"), raw, 0o644)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// TestPrivateRegistry runs modules from Debian's registry, over TLS and for a login that kubectl makes the secret of.
func TestPrivateRegistry(t *testing.T) {
	w := newWorld(t)
	r := dockerregistry.Start(t, dockerregistry.Options{TLS: true, Auth: true})
	// A module of its own: what another test's pods had without a credential is for all.
	module := toolchain.WithCustomSection(w.module("probe"), "private", []byte(t.Name()))
	digest := r.Push(t, "team/probe:v1", dockerregistry.Module(t, module))
	w.pulls("unknown-authority", r.Host+"/team/probe:v1", "")
	w.comes(`certificate`, "get", "pod", "unknown-authority", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}")

	w.settle(r.Host, r.CA)
	w.kubectl("create", "secret", "docker-registry", "pull", "--docker-server="+r.Host, "--docker-username="+dockerregistry.User, "--docker-password="+dockerregistry.Password)
	w.kubectl("create", "secret", "docker-registry", "old", "--docker-server="+r.Host, "--docker-username="+dockerregistry.User, "--docker-password=wrong")
	w.pulls("by-tag", r.Host+"/team/probe:v1", "pull")
	w.pulls("by-digest", r.Host+"/team/probe@"+digest, "pull")
	w.kubectl("wait", "pod/by-tag", "pod/by-digest", "--for=condition=Ready", "--timeout=150s")
	w.becomes(podURL(w, "by-tag"), 200, "probe")
	matches(t, w.kubectl("get", "pod", "by-digest", "-o", "jsonpath={.status.containerStatuses[0].imageID}"), digest)

	w.pulls("no-login", r.Host+"/team/other:v1", "")
	w.pulls("old-login", r.Host+"/team/other:v1", "old")
	for _, name := range []string{"no-login", "old-login"} {
		w.comes(`^`+name+` +0/1 +(ErrImagePull|ImagePullBackOff) `, "get", "pod", name)
		w.comes(`registry denied access`, "get", "pod", name, "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}")
	}
	w.pulls("no-secret", r.Host+"/team/probe:v1", "absent")
	w.comes(`FailedToRetrieveImagePullSecret.*absent`, "get", "events", "--field-selector", "involvedObject.name=no-secret")
}

// TestRegistryTroubles: a pod whose registry misbehaves says what is wrong, and other pods are not held up by it.
func TestRegistryTroubles(t *testing.T) {
	w := newWorld(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hostile := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/circle/"):
			http.Redirect(rw, r, r.URL.Path+"/round", http.StatusTemporaryRedirect)
		case strings.Contains(r.URL.Path, "/silent/"):
			<-r.Context().Done()
		case strings.Contains(r.URL.Path, "/busy/"):
			rw.WriteHeader(http.StatusServiceUnavailable)
		case strings.Contains(r.URL.Path, "/huge/"):
			rw.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			_, _ = rw.Write(make([]byte, 8<<20))
		}
	})}
	done := make(chan error, 1)
	go func() { done <- hostile.Serve(listener) }()
	t.Cleanup(func() { _ = hostile.Shutdown(context.Background()); <-done })
	host := listener.Addr().String()
	for repository, says := range map[string]string{"circle": "redirects", "busy": "503", "huge": "exceeds a limit"} {
		w.pulls(repository, host+"/"+repository+"/app:v1", "")
		w.comes(`^`+repository+` +0/1 +(ErrImagePull|ImagePullBackOff) `, "get", "pod", repository)
		w.comes(says, "get", "pod", repository, "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}")
	}
	w.pulls("silent", host+"/silent/app:v1", "")
	w.comes(`^silent +0/1 +ContainerCreating `, "get", "pod", "silent")
	w.apply(strings.ReplaceAll(server, "$PROBE", w.image("probe")))
	w.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=150s")
	w.kubectl("delete", "pod", "silent", "--timeout=150s") // a pull that hangs holds no pod's end up
}
