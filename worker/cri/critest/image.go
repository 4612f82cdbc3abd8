package critest

import (
	"context"
	"slices"
	"strings"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var imageTests = map[string]func(*suite){
	"Missing":             testMissingImages,
	"PullAndRemove":       testPullAndRemove,
	"Names":               testImageNames,
	"ByDigest":            testImageByDigest,
	"Private":             testPrivateImages,
	"Filter":              testImageFilter,
	"Disk":                testImageDisk,
	"References":          testImageReferences,
	"WithoutTag":          testImageWithoutTag,
	"Different":           testDifferentImages,
	"RemoveByOneTag":      testRemoveByOneTag,
	"RemoveAtTheSameTime": testRemoveAtTheSameTime,
	"Impatient":           testImpatientPull,
	"SameIdentifier":      testSameIdentifier,
	"Users":               testImageUsers,
}

// registry is where to pull from; without one the test is skipped.
func (s *suite) registry() *Registry {
	s.Helper()
	if s.Registry == nil {
		s.Skip("no registry is given to pull from")
	}
	return s.Registry
}

// pull fetches an image that is removed with the test, and answers how containers refer to it.
func (s *suite) pull(name string, auth *runtimev1.AuthConfig) (string, error) {
	spec := &runtimev1.ImageSpec{Image: name}
	answer, err := s.images.PullImage(s.ctx, &runtimev1.PullImageRequest{Image: spec, Auth: auth})
	if err == nil {
		s.Cleanup(func() {
			if _, err := s.images.RemoveImage(context.Background(), &runtimev1.RemoveImageRequest{Image: spec}); err != nil {
				s.Error(err)
			}
		})
	}
	return answer.GetImageRef(), err
}

func (s *suite) imageOf(name string) *runtimev1.Image {
	s.Helper()
	image, err := s.Client.ImageStatus(s.ctx, &runtimev1.ImageSpec{Image: name})
	s.must(err)
	return image
}

func testMissingImages(s *suite) {
	missing := &runtimev1.ImageSpec{Image: "example.invalid/no/such:image"}
	if image := s.imageOf(missing.GetImage()); image != nil {
		s.Errorf("status of an image that is not there = %v, want nil", image)
	}
	for _, name := range []string{missing.GetImage(), "", "Not A Name"} {
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		if _, err := s.images.PullImage(ctx, &runtimev1.PullImageRequest{Image: &runtimev1.ImageSpec{Image: name}}); err == nil {
			s.Errorf("pulling %q: no error", name)
		}
		cancel()
	}
	if s.Registry != nil {
		if _, err := s.pull(strings.TrimSuffix(s.Registry.Image, "1")+"none", nil); err == nil {
			s.Error("pulling a tag that the registry has not: no error")
		}
	}
}

func testPullAndRemove(s *suite) {
	name := s.registry().Image
	ref, err := s.pull(name, nil)
	s.must(err)
	again, err := s.pull(name, nil)
	s.must(err)
	if ref == "" || ref != again {
		s.Errorf("pulled twice as %q and %q", ref, again)
	}
	image := s.imageOf(name)
	if image.GetId() == "" || image.GetSize() == 0 || !slices.Contains(image.GetRepoTags(), name) || len(image.GetRepoDigests()) == 0 {
		s.Fatalf("status %v: want an ID, a size, the tag and a digest", image)
	}
	if byRef := s.imageOf(ref); byRef.GetId() != image.GetId() {
		s.Errorf("what the pull answered, %q, is image %q, not %q", ref, byRef.GetId(), image.GetId())
	}
	all, err := s.Client.ListImages(s.ctx)
	s.must(err)
	count := 0
	for _, i := range all {
		if i.GetId() == image.GetId() {
			count++
		}
	}
	if count != 1 {
		s.Errorf("a pulled image is listed %d times", count)
	}
	for range 2 {
		_, err := s.images.RemoveImage(s.ctx, &runtimev1.RemoveImageRequest{Image: &runtimev1.ImageSpec{Image: image.GetId()}})
		s.must(err)
	}
	if left := s.imageOf(name); left != nil {
		s.Errorf("status after removal: %v", left)
	}
}

// testImageNames: one image under two names is one, and goes with all of them.
func testImageNames(s *suite) {
	r := s.registry()
	for _, name := range []string{r.Image, r.Same} {
		_, err := s.pull(name, nil)
		s.must(err)
	}
	one, two := s.imageOf(r.Image), s.imageOf(r.Same)
	if one.GetId() != two.GetId() || !slices.Contains(one.GetRepoTags(), r.Image) || !slices.Contains(one.GetRepoTags(), r.Same) {
		s.Errorf("two names of one manifest are %v and %v", one, two)
	}
}

func testImageByDigest(s *suite) {
	r := s.registry()
	repository, _, _ := strings.Cut(r.Image, ":1")
	name := repository + "@" + r.Digest
	_, err := s.pull(name, nil)
	s.must(err)
	image := s.imageOf(name)
	if !slices.Contains(image.GetRepoDigests(), name) || len(image.GetRepoTags()) != 0 {
		s.Errorf("pulled by digest: %v", image)
	}
	other := repository + "@sha256:" + strings.Repeat("0", 64)
	if _, err := s.pull(other, nil); err == nil {
		s.Error("pulling a digest that the registry has not: no error")
	}
}

func testPrivateImages(s *suite) {
	r := s.registry()
	if _, err := s.pull(r.Private, nil); err == nil {
		s.Error("pulling without credentials: no error")
	}
	wrong := &runtimev1.AuthConfig{Username: r.Auth.GetUsername(), Password: "not this one"}
	if _, err := s.pull(r.Private, wrong); err == nil || strings.Contains(err.Error(), wrong.GetPassword()) {
		s.Errorf("pulling with a wrong password: %v", err)
	}
	if _, err := s.pull(r.Private, r.Auth); err != nil {
		s.Errorf("pulling with credentials: %v", err)
	}
}

func testImageFilter(s *suite) {
	name := s.registry().Image
	_, err := s.pull(name, nil)
	s.must(err)
	for filter, want := range map[string]int{name: 1, "example.invalid/no/such:image": 0} {
		answer, err := s.images.ListImages(s.ctx, &runtimev1.ListImagesRequest{Filter: &runtimev1.ImageFilter{Image: &runtimev1.ImageSpec{Image: filter}}})
		s.must(err)
		if len(answer.GetImages()) != want {
			s.Errorf("filter %s: %d images, want %d", filter, len(answer.GetImages()), want)
		}
	}
}

func testImageDisk(s *suite) {
	s.create(s.sandbox(), s.TaskImage, "main", 0) // some runtimes unpack an image, and count it, when it is first used
	s.eventually("disk usage of images", func() bool {
		answer, err := s.Client.ImageFsInfo(s.ctx)
		s.must(err)
		for _, f := range answer.GetImageFilesystems() {
			if f.GetFsId().GetMountpoint() != "" && f.GetTimestamp() > 0 && f.GetUsedBytes().GetValue() > 0 && f.GetInodesUsed().GetValue() > 0 {
				return true
			}
		}
		return false
	})
}
