package critest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ImageUser is an image whose configuration names a user, and how a runtime has to tell that: a node decides by it whether
// a pod that must not be root may run.
type ImageUser struct {
	Image, Name string
	UID         int64
}

// remove removes by any name.
func (s *suite) remove(name string) {
	s.Helper()
	_, err := s.images.RemoveImage(s.ctx, &runtimev1.RemoveImageRequest{Image: &runtimev1.ImageSpec{Image: name}})
	s.must(err)
}

// testImageReferences: an image is the same by its ID, each of its tags and each of its digests.
func testImageReferences(s *suite) {
	r := s.registry()
	for _, name := range []string{r.Image, r.Same} {
		_, err := s.pull(name, nil)
		s.must(err)
	}
	want := s.imageOf(r.Image)
	for _, name := range slices.Concat([]string{want.GetId()}, want.GetRepoTags(), want.GetRepoDigests()) {
		if got := s.imageOf(name); !proto.Equal(got, want) {
			s.Errorf("by %s it is %v, by its tag %v", name, got, want)
		}
	}
}

func testImageWithoutTag(s *suite) {
	name, _, _ := strings.Cut(s.registry().Image, ":1")
	_, err := s.pull(name, nil)
	s.must(err)
	if tags := s.imageOf(name).GetRepoTags(); !slices.Equal(tags, []string{name + ":latest"}) {
		s.Errorf("pulled without a tag it has %q", tags)
	}
}

// testDifferentImages: each has its own ID and nobody else's names.
func testDifferentImages(s *suite) {
	r := s.registry()
	for _, name := range []string{r.Image, r.Other} {
		_, err := s.pull(name, nil)
		s.must(err)
	}
	one, two := s.imageOf(r.Image), s.imageOf(r.Other)
	if one.GetId() == two.GetId() || !slices.Equal(one.GetRepoTags(), []string{r.Image}) || !slices.Equal(two.GetRepoTags(), []string{r.Other}) {
		s.Errorf("two images are %v and %v", one, two)
	}
}

// testRemoveByOneTag: an image goes with all its names, whichever is given, and is gone for each call that follows.
func testRemoveByOneTag(s *suite) {
	r := s.registry()
	for _, name := range []string{r.Image, r.Same} {
		_, err := s.pull(name, nil)
		s.must(err)
	}
	id := s.imageOf(r.Image).GetId()
	s.remove(r.Same)
	for _, name := range []string{r.Image, r.Same, id} {
		if left := s.imageOf(name); left != nil {
			s.Errorf("%s is still %v", name, left)
		}
	}
	all, err := s.Client.ListImages(s.ctx)
	s.must(err)
	for _, image := range all {
		if image.GetId() == id {
			s.Errorf("it is still listed: %v", image)
		}
	}
}

func testRemoveAtTheSameTime(s *suite) {
	name := s.registry().Image
	_, err := s.pull(name, nil)
	s.must(err)
	var removals sync.WaitGroup
	for range 8 {
		removals.Go(func() {
			if _, err := s.images.RemoveImage(s.ctx, &runtimev1.RemoveImageRequest{Image: &runtimev1.ImageSpec{Image: name}}); err != nil {
				s.Errorf("one of several removals: %v", err)
			}
		})
	}
	removals.Wait()
	if left := s.imageOf(name); left != nil {
		s.Errorf("status after removal: %v", left)
	}
}

// testImpatientPull: a caller that leaves is told so, and leaves nothing that the next one trips over.
func testImpatientPull(s *suite) {
	name := s.registry().Image
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := s.images.PullImage(ctx, &runtimev1.PullImageRequest{Image: &runtimev1.ImageSpec{Image: name}}); status.Code(err) != codes.Canceled {
		s.Errorf("a pull whose caller has left: %v", err)
	}
	_, err := s.pull(name, nil)
	s.must(err)
}

// testSameIdentifier: what a pull answers, an image's ID and what its containers say they run are one, or no image that
// containers use can be told from one that may be collected.
func testSameIdentifier(s *suite) {
	r := s.registry()
	ref, err := s.pull(r.Image, nil)
	s.must(err)
	other, err := s.pull(r.Same, nil)
	s.must(err)
	if id := s.imageOf(r.Image).GetId(); id != ref || other != ref {
		s.Errorf("the image %s was pulled as %s, by its second name as %s", id, ref, other)
	}
	s.present(s.TaskImage)
	id := s.imageOf(s.TaskImage).GetId()
	p := s.sandbox()
	container := s.create(p, id, "main", 0)
	items, err := s.Client.ListContainers(s.ctx, &runtimev1.ContainerFilter{Id: container})
	s.must(err)
	if len(items) != 1 {
		s.Fatalf("listed %d times", len(items))
	}
	said := map[string]string{"status": s.status(container).GetImageId(), "list": items[0].GetImageId()}
	for where, got := range said {
		if got != "" && got != id { // a field that older runtimes have not
			s.Errorf("its %s says image %q, want %q", where, got, id)
		}
	}
}

func testImageUsers(s *suite) {
	if len(s.Users) == 0 {
		s.Skip("images of this runtime name no users")
	}
	for _, u := range s.Users {
		if image := s.imageOf(u.Image); image.GetUsername() != u.Name || image.GetUid().GetValue() != u.UID || (image.GetUid() != nil) != (u.Name == "") {
			s.Errorf("%s: uid %v, name %q; want %d, %q", u.Image, image.GetUid(), image.GetUsername(), u.UID, u.Name)
		}
	}
}
