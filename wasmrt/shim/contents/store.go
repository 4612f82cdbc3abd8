package contents

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

const (
	// maxManifest bounds a manifest, as registries do.
	maxManifest = 4 << 20
	// maxModule bounds a module; the runtime takes no larger ones.
	maxModule = 64 << 20
	// maxDepth bounds how often an index may name another.
	maxDepth = 3
	// namespaceHeader tells containerd which namespace is meant.
	namespaceHeader = "containerd-namespace"
)

// moduleLayers are the layers that are modules, by the layouts that are in use.
var moduleLayers = []string{
	"application/wasm",
	"application/vnd.wasm.content.layer.v1+wasm",
	"application/vnd.module.wasm.content.layer.v1+wasm",
	"application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
}

// ErrNoModule says that an image has no module for a layer.
var ErrNoModule = errors.New("the image has no layer that is a module")

// Store is containerd's.
type Store struct {
	conn      *grpc.ClientConn
	namespace string
}

// New returns the store of the containerd that serves gRPC at a socket, in one of its namespaces. It does no I/O.
func New(address, namespace string) (*Store, error) {
	conn, err := grpc.NewClient("unix://"+strings.TrimPrefix(address, "unix://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	return &Store{conn: conn, namespace: namespace}, nil
}

// Close ends the connection.
func (s *Store) Close() error { return s.conn.Close() }

// Open answers the module of a container's image, in a file that has no name any more.
func (s *Store) Open(ctx context.Context, id string) (*os.File, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, namespaceHeader, s.namespace)
	c, err := containersapi.NewContainersClient(s.conn).Get(ctx, &containersapi.GetContainerRequest{ID: id})
	if err != nil {
		return nil, fmt.Errorf("find container: %w", err)
	}
	image, err := imagesapi.NewImagesClient(s.conn).Get(ctx, &imagesapi.GetImageRequest{Name: c.GetContainer().GetImage()})
	if err != nil {
		return nil, fmt.Errorf("find image %q: %w", c.GetContainer().GetImage(), err)
	}
	digest, err := s.module(ctx, image.GetImage().GetTarget().GetDigest(), maxDepth)
	if err != nil {
		return nil, err
	}
	return s.spool(ctx, digest)
}

// manifest is what is read of manifests and indexes.
type manifest struct {
	Manifests []descriptor `json:"manifests"`
	Layers    []descriptor `json:"layers"`
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Platform  struct {
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

// module answers the digest of the module that a manifest names; of an index, what is for Wasm or the only one.
func (s *Store) module(ctx context.Context, digest string, depth int) (string, error) {
	var raw strings.Builder
	if err := s.read(ctx, digest, maxManifest, &raw); err != nil {
		return "", fmt.Errorf("read manifest: %w", err)
	}
	var m manifest
	if err := json.Unmarshal([]byte(raw.String()), &m); err != nil {
		return "", fmt.Errorf("read manifest: %w", err)
	}
	for _, l := range m.Layers {
		if slices.Contains(moduleLayers, l.MediaType) {
			return l.Digest, nil
		}
	}
	for _, d := range m.Manifests {
		if depth > 0 && (len(m.Manifests) == 1 || strings.HasPrefix(d.Platform.Architecture, "wasm")) {
			return s.module(ctx, d.Digest, depth-1)
		}
	}
	return "", ErrNoModule
}

// spool copies a blob to a file.
func (s *Store) spool(ctx context.Context, digest string) (_ *os.File, err error) {
	f, err := os.CreateTemp("", "petrel-module-")
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	if err := s.read(ctx, digest, maxModule, f); err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	return f, nil
}

// read copies a blob and holds it to its digest.
func (s *Store) read(ctx context.Context, digest string, limit int64, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := contentapi.NewContentClient(s.conn).Read(ctx, &contentapi.ReadContentRequest{Digest: digest})
	if err != nil {
		return err
	}
	hash, n := sha256.New(), int64(0)
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if n += int64(len(part.GetData())); n > limit {
			return fmt.Errorf("blob %s has more than %d bytes", digest, limit)
		}
		hash.Write(part.GetData())
		if _, err := w.Write(part.GetData()); err != nil {
			return err
		}
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != digest {
		return fmt.Errorf("blob %s has the content of %s", digest, got)
	}
	return nil
}
