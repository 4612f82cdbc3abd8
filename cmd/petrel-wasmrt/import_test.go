package main

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// TestModuleOfAFile: a trusted client names a file instead of a registry's image; others may not.
func TestModuleOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "m.wasm")
	if err := os.WriteFile(file, wasmtest.Serve("from a file", "line\n", 0), 0o600); err != nil {
		t.Fatal(err)
	}
	request := func(file string) *runtimev1.PullImageRequest {
		return &runtimev1.PullImageRequest{Image: &runtimev1.ImageSpec{Image: "local.test/modules:a", Annotations: map[string]string{"petrel.run/module-file": file}}}
	}
	n := newNode(t, "--trust-annotations")
	pulled, err := n.img.PullImage(n.ctx(), request(file))
	if err != nil {
		t.Fatal(err)
	}
	p := n.run(n.podConfig("default"))
	n.launch(p, containerConfig("c", "local.test/modules:a"))
	n.wantAnswer(p, "from a file")
	if again, err := n.img.PullImage(n.ctx(), request(file)); err != nil || again.ImageRef != pulled.ImageRef {
		t.Errorf("again %v, %v; first %s", again, err, pulled.ImageRef)
	}
	for path, want := range map[string]codes.Code{"m.wasm": codes.InvalidArgument, file + "/../m.wasm": codes.InvalidArgument, "/none": codes.NotFound, "/dev/zero": codes.InvalidArgument} {
		if _, err := n.img.PullImage(n.ctx(), request(path)); status.Code(err) != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}

	n = newNode(t)
	if _, err := n.img.PullImage(n.ctx(), request(file)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a client that is not trusted: %v", err)
	}
}
