package crifake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// AddImage puts a program where PullImage finds it.
func (r *Runtime) AddImage(ref string, p Program) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.programs[ref] = p
}

// Protect has pulls of the image need a login.
func (r *Runtime) Protect(ref, user, password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.private[ref] = &runtimev1.AuthConfig{Username: user, Password: password}
}

// SetPullProgress has the verbose status of an image that is not there say how far its pull is.
func (r *Runtime) SetPullProgress(ref string, done, total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pulling[ref] = fmt.Sprintf(`{"bytesDone":%d,"bytesTotal":%d}`, done, total)
}

func imageRef(image string) string {
	name, digest, ok := strings.Cut(image, "@")
	if ok {
		return name + "@" + digest
	}
	sum := sha256.Sum256([]byte(image))
	return name + "@sha256:" + hex.EncodeToString(sum[:])
}

func (s *imageService) PullImage(_ context.Context, req *runtimev1.PullImageRequest) (*runtimev1.PullImageResponse, error) {
	image := req.GetImage().GetImage()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.programs[image]; !ok {
		return nil, status.Errorf(codes.NotFound, "image %q: manifest unknown", image)
	}
	if login, ok := s.private[image]; ok && (login.GetUsername() != req.GetAuth().GetUsername() || login.GetPassword() != req.GetAuth().GetPassword()) {
		return nil, status.Errorf(codes.PermissionDenied, "image %q: registry denied access", image)
	}
	s.pulled[image] = true
	return &runtimev1.PullImageResponse{ImageRef: imageRef(image)}, nil
}

func (s *imageService) ImageStatus(_ context.Context, req *runtimev1.ImageStatusRequest) (*runtimev1.ImageStatusResponse, error) {
	image := req.GetImage().GetImage()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pulled[image] {
		answer := &runtimev1.ImageStatusResponse{}
		if told := s.pulling[image]; told != "" && req.GetVerbose() {
			answer.Info = map[string]string{"pull": told}
		}
		return answer, nil
	}
	return &runtimev1.ImageStatusResponse{Image: s.image(image)}, nil
}

func (s *imageService) ListImages(context.Context, *runtimev1.ListImagesRequest) (*runtimev1.ListImagesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &runtimev1.ListImagesResponse{}
	for image := range s.pulled {
		out.Images = append(out.Images, s.image(image))
	}
	return out, nil
}

func (r *Runtime) image(image string) *runtimev1.Image {
	return &runtimev1.Image{
		Id: imageRef(image), RepoTags: []string{image}, RepoDigests: []string{imageRef(image)}, Size: r.imageSize(image), Spec: &runtimev1.ImageSpec{Image: image},
	}
}

// SetImageSize says what the image takes on disk; 1 unless said.
func (r *Runtime) SetImageSize(image string, bytes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sizes[image] = bytes
}

func (r *Runtime) imageSize(image string) uint64 {
	if n, ok := r.sizes[image]; ok {
		return n
	}
	return 1
}

// Images are the references of the images that the runtime holds.
func (r *Runtime) Images() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.pulled))
}

func (s *imageService) RemoveImage(_ context.Context, req *runtimev1.RemoveImageRequest) (*runtimev1.RemoveImageResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := req.GetImage().GetImage()
	for image := range s.pulled {
		if image == name || imageRef(image) == name {
			delete(s.pulled, image)
		}
	}
	return &runtimev1.RemoveImageResponse{}, nil
}

// Program is what AddImage put under the reference.
func (r *Runtime) Program(ref string) Program {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.programs[ref]
}
