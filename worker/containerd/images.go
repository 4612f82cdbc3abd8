package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"time"

	content "github.com/containerd/containerd/api/services/content/v1"
	images "github.com/containerd/containerd/api/services/images/v1"
	leases "github.com/containerd/containerd/api/services/leases/v1"
	types "github.com/containerd/containerd/api/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	// namespace is where containerd's CRI keeps its things.
	namespace = "k8s.io"
	// labelRef, with something behind it, keeps what it names as long as what it stands on.
	labelRef = "containerd.io/gc.ref.content."
	// chunkSize is what is sent of a blob at a time, well below gRPC's limit for a message.
	chunkSize = 1 << 20
	// leaseLife is how long what is being imported is safe from collection should we never return.
	leaseLife = time.Hour
)

// store is containerd's content and images, below the CRI.
type store struct {
	content content.ContentClient
	images  images.ImagesClient
	leases  leases.LeasesClient
}

func newStore(conn *grpc.ClientConn) *store {
	return &store{content: content.NewContentClient(conn), images: images.NewImagesClient(conn), leases: leases.NewLeasesClient(conn)}
}

// has reports whether the name leads to the image.
func (s *store) has(ctx context.Context, name string, digest v1.Hash) (bool, error) {
	answer, err := s.images.Get(inNamespace(ctx), &images.GetImageRequest{Name: name})
	if status.Code(err) == codes.NotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for image %s: %w", name, err)
	}
	return answer.GetImage().GetTarget().GetDigest() == digest.String(), nil
}

// put gives containerd an image of one platform under a name. It marks nothing: the CRI, which hears of it, does.
func (s *store) put(ctx context.Context, image v1.Image, name string) error {
	ctx, done, err := s.lease(inNamespace(ctx))
	if err != nil {
		return err
	}
	defer done()
	target, err := s.blobs(ctx, image)
	if err != nil {
		return err
	}
	record := &images.Image{Name: name, Target: target}
	_, err = s.images.Create(ctx, &images.CreateImageRequest{Image: record})
	if status.Code(err) == codes.AlreadyExists {
		_, err = s.images.Update(ctx, &images.UpdateImageRequest{Image: record})
	}
	if err != nil {
		return fmt.Errorf("name image %s: %w", name, err)
	}
	return nil
}

// lease keeps what is written until it is named.
func (s *store) lease(ctx context.Context) (context.Context, func(), error) {
	answer, err := s.leases.Create(ctx, &leases.CreateRequest{
		ID:     "petrel-import-" + strconv.FormatInt(time.Now().UnixNano(), 36),
		Labels: map[string]string{"containerd.io/gc.expire": time.Now().Add(leaseLife).UTC().Format(time.RFC3339)},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("lease for an import: %w", err)
	}
	id := answer.GetLease().GetID()
	leased := metadata.AppendToOutgoingContext(ctx, "containerd-lease", id)
	return leased, func() {
		// What is left of a failed import goes with its lease; one that is not deleted ends by itself.
		_, _ = s.leases.Delete(context.WithoutCancel(ctx), &leases.DeleteRequest{ID: id})
	}, nil
}

// blobs writes layers, configuration and manifest, in this order, each with what it keeps.
func (s *store) blobs(ctx context.Context, image v1.Image) (*types.Descriptor, error) {
	layers, err := image.Layers()
	if err != nil {
		return nil, fmt.Errorf("read layers: %w", err)
	}
	refs := map[string]string{}
	for i, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
		size, err := layer.Size()
		if err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
		err = s.write(ctx, digest, size, nil, layer.Compressed)
		if err != nil {
			return nil, err
		}
		refs[labelRef+"l."+strconv.Itoa(i)] = digest.String()
	}
	configDigest, err := image.ConfigName()
	if err != nil {
		return nil, fmt.Errorf("read image configuration: %w", err)
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read image configuration: %w", err)
	}
	if err := s.write(ctx, configDigest, int64(len(config)), nil, opener(config)); err != nil {
		return nil, err
	}
	refs[labelRef+"config"] = configDigest.String()
	return s.manifest(ctx, image, refs)
}

func (s *store) manifest(ctx context.Context, image v1.Image, refs map[string]string) (*types.Descriptor, error) {
	raw, err := image.RawManifest()
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	mediaType, err := image.MediaType()
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if err := s.write(ctx, digest, int64(len(raw)), refs, opener(raw)); err != nil {
		return nil, err
	}
	return &types.Descriptor{MediaType: string(mediaType), Digest: digest.String(), Size: int64(len(raw))}, nil
}

func opener(raw []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
}

// write stores a blob that is not there yet. containerd checks its digest.
func (s *store) write(ctx context.Context, digest v1.Hash, size int64, labels map[string]string, open func() (io.ReadCloser, error)) error {
	wrapped := func(err error) error { return fmt.Errorf("write blob %s: %w", digest, err) }
	ctx, cancel := context.WithCancel(ctx) // ends the stream
	defer cancel()
	stream, err := s.content.Write(ctx)
	if err != nil {
		return wrapped(err)
	}
	first := &content.WriteContentRequest{
		Action: content.WriteAction_STAT, Ref: "petrel-" + digest.String(), Total: size, Expected: digest.String(),
	}
	answer, err := exchange(stream, first)
	if status.Code(err) == codes.AlreadyExists {
		return nil
	}
	if err != nil {
		return wrapped(err)
	}
	source, err := open()
	if err != nil {
		return wrapped(err)
	}
	defer source.Close()
	offset := answer.GetOffset() // what an import that broke off has left
	if _, err := io.CopyN(io.Discard, source, offset); err != nil {
		return wrapped(err)
	}
	chunk := make([]byte, min(chunkSize, max(size-offset, 1)))
	for offset < size {
		n, err := io.ReadFull(source, chunk[:min(int64(len(chunk)), size-offset)])
		if err != nil {
			return wrapped(err)
		}
		_, err = exchange(stream, &content.WriteContentRequest{Action: content.WriteAction_WRITE, Offset: offset, Data: chunk[:n]})
		if err != nil {
			return wrapped(err)
		}
		offset += int64(n)
	}
	_, err = exchange(stream, &content.WriteContentRequest{
		Action: content.WriteAction_COMMIT, Offset: size, Total: size, Expected: digest.String(), Labels: maps.Clone(labels),
	})
	if err != nil && status.Code(err) != codes.AlreadyExists {
		return wrapped(err)
	}
	return nil
}

func exchange(stream content.Content_WriteClient, request *content.WriteContentRequest) (*content.WriteContentResponse, error) {
	// What a send fails with is told by the answer: the stream itself says only that it has ended.
	if err := stream.Send(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream.Recv()
}

func inNamespace(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", namespace)
}
