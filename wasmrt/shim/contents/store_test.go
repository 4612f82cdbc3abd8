package contents

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/types"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a containerd with one container for each image.
type fake struct {
	contentapi.UnimplementedContentServer

	targets map[string]string // image → digest
	blobs   map[string][]byte
	lie     map[string][]byte // what is sent instead
}

func newFake() *fake {
	return &fake{targets: map[string]string{}, blobs: map[string][]byte{}, lie: map[string][]byte{}}
}

func (f *fake) blob(content string) string {
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
	f.blobs[digest] = []byte(content)
	return digest
}

type containers struct {
	containersapi.UnimplementedContainersServer
}

func (containers) Get(ctx context.Context, r *containersapi.GetContainerRequest) (*containersapi.GetContainerResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if got := md.Get(namespaceHeader); len(got) != 1 || got[0] != "k8s.io" {
		return nil, status.Errorf(codes.InvalidArgument, "namespace %v", got)
	}
	if r.ID == "unknown" {
		return nil, status.Error(codes.NotFound, "no such container")
	}
	return &containersapi.GetContainerResponse{Container: &containersapi.Container{ID: r.ID, Image: r.ID}}, nil
}

type images struct {
	imagesapi.UnimplementedImagesServer
	of *fake
}

func (i images) Get(_ context.Context, r *imagesapi.GetImageRequest) (*imagesapi.GetImageResponse, error) {
	digest, ok := i.of.targets[r.Name]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such image")
	}
	return &imagesapi.GetImageResponse{Image: &imagesapi.Image{Name: r.Name, Target: &types.Descriptor{Digest: digest}}}, nil
}

func (f *fake) Read(r *contentapi.ReadContentRequest, stream contentapi.Content_ReadServer) error {
	content, ok := f.blobs[r.Digest]
	if lie := f.lie[r.Digest]; lie != nil {
		content = lie
	}
	if !ok {
		return status.Error(codes.NotFound, "no such blob")
	}
	for len(content) > 0 {
		n := min(len(content), 1<<20)
		if err := stream.Send(&contentapi.ReadContentResponse{Data: content[:n]}); err != nil {
			return err
		}
		content = content[n:]
	}
	return nil
}

func (f *fake) serve(t *testing.T) *Store {
	t.Helper()
	dir, err := os.MkdirTemp("", "cnt")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	containersapi.RegisterContainersServer(server, containers{})
	imagesapi.RegisterImagesServer(server, images{of: f})
	contentapi.RegisterContentServer(server, f)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	s, err := New("unix://"+l.Addr().String(), "k8s.io")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close()
		server.Stop()
		<-done
		_ = os.RemoveAll(dir)
	})
	return s
}

const module = "\x00asm module"

func TestOpen(t *testing.T) {
	f := newFake()
	layer := f.blob(module)
	manifest := f.blob(`{"layers":[{"mediaType":"text/plain","digest":"sha256:1"},{"mediaType":"application/wasm","digest":"` + layer + `"}]}`)
	f.targets["artifact"] = manifest
	f.targets["legacy"] = f.blob(`{"layers":[{"mediaType":"application/vnd.module.wasm.content.layer.v1+wasm","digest":"` + layer + `"}]}`)
	f.targets["index"] = f.blob(`{"manifests":[{"digest":"sha256:2","platform":{"architecture":"amd64"}},{"digest":"` + manifest + `","platform":{"architecture":"wasm32"}}]}`)
	f.targets["sole"] = f.blob(`{"manifests":[{"digest":"` + f.targets["index"] + `"}]}`)
	s := f.serve(t)
	for _, id := range []string{"artifact", "legacy", "index", "sole"} {
		file, err := s.Open(t.Context(), id)
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		got, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<20))
		if err != nil || string(got) != module {
			t.Errorf("%s: %q, %v", id, got, err)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	f := newFake()
	layer := f.blob(module)
	f.targets["plain"] = f.blob(`{"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"` + layer + `"}]}`)
	f.targets["processes"] = f.blob(`{"manifests":[{"digest":"sha256:1","platform":{"architecture":"amd64"}},{"digest":"sha256:2","platform":{"architecture":"arm64"}}]}`)
	f.targets["garbage"] = f.blob(`{"layers":`)
	f.targets["gone"] = "sha256:0"
	f.targets["missing"] = f.blob(`{"layers":[{"mediaType":"application/wasm","digest":"sha256:3"}]}`)
	f.targets["huge manifest"] = f.blob(strings.Repeat(" ", maxManifest+1))
	lied := f.blob("another module")
	f.lie[lied] = []byte(module)
	f.targets["lie"] = f.blob(`{"layers":[{"mediaType":"application/wasm","digest":"` + lied + `"}]}`)
	big := f.blob("big")
	f.lie[big] = make([]byte, maxModule+1)
	f.targets["bomb"] = f.blob(`{"layers":[{"mediaType":"application/wasm","digest":"` + big + `"}]}`)
	deep := f.blob(`{"layers":[{"mediaType":"application/wasm","digest":"` + layer + `"}]}`)
	for range maxDepth + 1 {
		deep = f.blob(`{"manifests":[{"digest":"` + deep + `"}]}`)
	}
	f.targets["deep"] = deep
	s := f.serve(t)
	for id, says := range map[string]string{"plain": "no layer", "processes": "no layer", "deep": "no layer", "garbage": "read manifest", "gone": "no such blob", "missing": "no such blob",
		"huge manifest": "more than", "lie": "has the content of", "bomb": "more than", "unknown": "find container", "none": "find image"} {
		file, err := s.Open(t.Context(), id)
		if err == nil {
			_ = file.Close()
		}
		if err == nil || !strings.Contains(err.Error(), says) || errors.Is(err, ErrNoModule) != (says == "no layer") {
			t.Errorf("%s: %v, want %q", id, err, says)
		}
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "petrel-module-*")); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}
