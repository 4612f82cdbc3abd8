package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/supervisor/image"
)

func imageItem(i *image.Image) *runtimev1.Image {
	return &runtimev1.Image{Id: i.ID, RepoTags: i.RepoTags, RepoDigests: i.RepoDigests, Size: uint64(i.Size)}
}

// PullImage makes an image present, compiled and checked.
func (s *Supervisor) PullImage(ctx context.Context, r *runtimev1.PullImageRequest) (*runtimev1.PullImageResponse, error) {
	if r.GetImage().GetImage() == "" {
		return nil, status.Error(codes.InvalidArgument, "pull image: its name is required")
	}
	if file := r.GetImage().GetAnnotations()[annotationModuleFile]; file != "" {
		return s.importImage(ctx, r.GetImage().GetImage(), file)
	}
	a := r.GetAuth()
	if server := a.GetServerAddress(); server != "" && !image.Serves(server, r.GetImage().GetImage()) {
		a = nil // credentials of another registry are shown to nobody
	}
	i, err := s.puller.Pull(ctx, r.GetImage().GetImage(), authn.AuthConfig{
		Username: a.GetUsername(), Password: a.GetPassword(), Auth: a.GetAuth(),
		IdentityToken: a.GetIdentityToken(), RegistryToken: a.GetRegistryToken(),
	})
	if err != nil {
		return nil, grpcError(err)
	}
	return &runtimev1.PullImageResponse{ImageRef: i.ID}, nil
}

// pullInfo is a pull under way as a JSON object; bytesTotal is 0 while it is not known.
func pullInfo(p image.Progress) string {
	raw, err := json.Marshal(struct {
		BytesDone  int64     `json:"bytesDone"`
		BytesTotal int64     `json:"bytesTotal"`
		StartedAt  time.Time `json:"startedAt"`
	}{p.Done, p.Total, p.Started.UTC()})
	if err != nil {
		return "{}" // a time outside of years that JSON can write
	}
	return string(raw)
}

// ListImages lists all images, or the one that is asked for.
func (s *Supervisor) ListImages(_ context.Context, r *runtimev1.ListImagesRequest) (*runtimev1.ListImagesResponse, error) {
	response := &runtimev1.ListImagesResponse{}
	for _, i := range s.images.List(r.GetFilter().GetImage().GetImage()) {
		response.Images = append(response.Images, imageItem(i))
	}
	return response, nil
}

// ImageStatus tells of an image; one that is not there has no status, which is no error. While it is being pulled,
// verbose information says how far that is.
func (s *Supervisor) ImageStatus(_ context.Context, r *runtimev1.ImageStatusRequest) (*runtimev1.ImageStatusResponse, error) {
	if r.GetImage().GetImage() == "" {
		return nil, status.Error(codes.InvalidArgument, "image status: its name is required")
	}
	i, err := s.images.Get(r.GetImage().GetImage())
	if errors.Is(err, image.ErrNotFound) {
		response := &runtimev1.ImageStatusResponse{}
		if at, running := s.puller.Progress(r.GetImage().GetImage()); running && r.GetVerbose() {
			response.Info = map[string]string{"pull": pullInfo(at)}
		}
		return response, nil
	}
	if errors.Is(err, image.ErrCorrupt) {
		s.cfg.Logger.Error("image is corrupt and was forgotten", "image", r.GetImage().GetImage(), "error", err)
		return &runtimev1.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, grpcError(err)
	}
	response := &runtimev1.ImageStatusResponse{Image: imageItem(i)}
	if r.GetVerbose() {
		response.Info = info(i)
	}
	return response, nil
}

// RemoveImage forgets an image with all its names, and the compiled code of its module.
func (s *Supervisor) RemoveImage(ctx context.Context, r *runtimev1.RemoveImageRequest) (*runtimev1.RemoveImageResponse, error) {
	if r.GetImage().GetImage() == "" {
		return nil, status.Error(codes.InvalidArgument, "remove image: its name is required")
	}
	unused, err := s.images.Remove(r.GetImage().GetImage())
	if err != nil {
		return nil, grpcError(err)
	}
	if unused != "" {
		if err := s.cfg.Compiler.Evict(ctx, unused); err != nil {
			s.cfg.Logger.Warn("compiled code not removed", "module", unused, "error", err)
		}
	}
	return &runtimev1.RemoveImageResponse{}, nil
}

// ImageFsInfo tells what images take on disk. Containers take nothing: they have no layer that could be written.
func (s *Supervisor) ImageFsInfo(context.Context, *runtimev1.ImageFsInfoRequest) (*runtimev1.ImageFsInfoResponse, error) {
	bytes, inodes, err := s.images.Usage()
	if err != nil {
		return nil, grpcError(err)
	}
	now := s.cfg.Now().UnixNano()
	usage := func(bytes, inodes uint64, dir string) []*runtimev1.FilesystemUsage {
		return []*runtimev1.FilesystemUsage{{Timestamp: now, FsId: &runtimev1.FilesystemIdentifier{Mountpoint: dir},
			UsedBytes: &runtimev1.UInt64Value{Value: bytes}, InodesUsed: &runtimev1.UInt64Value{Value: inodes}}}
	}
	return &runtimev1.ImageFsInfoResponse{
		ImageFilesystems:     usage(bytes, inodes, s.images.Dir()),
		ContainerFilesystems: usage(0, 0, s.images.Dir()),
	}, nil
}
