package imagegc

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a disk with a runtime's images on it.
type host struct {
	images     []*runtimev1.Image
	containers []*runtimev1.Container
	taken      uint64 // by others
	fail       map[string]error
	wanted     []string
	keep       string
	removed    func() // hears of each image that goes
	policy     Policy
}

const size = 1000

func (h *host) ListImages(context.Context) ([]*runtimev1.Image, error) {
	return slices.Clone(h.images), h.fail["ListImages"]
}

func (h *host) ListContainers(context.Context, *runtimev1.ContainerFilter) ([]*runtimev1.Container, error) {
	return h.containers, h.fail["ListContainers"]
}

// ImageStatus knows images by what their short names mean.
func (h *host) ImageStatus(_ context.Context, image *runtimev1.ImageSpec) (*runtimev1.Image, error) {
	if strings.Contains(image.GetImage(), " ") {
		return nil, status.Error(codes.InvalidArgument, "no reference")
	}
	for _, i := range h.images {
		if slices.Contains(i.GetRepoTags(), "docker.io/library/"+image.GetImage()+":latest") || i.GetId() == image.GetImage() {
			return i, nil
		}
	}
	return nil, h.fail["ImageStatus"]
}

func (h *host) RemoveImage(_ context.Context, image *runtimev1.ImageSpec) error {
	if err := h.fail["RemoveImage "+image.GetImage()]; err != nil {
		return err
	}
	if h.removed != nil {
		h.removed()
	}
	h.images = slices.DeleteFunc(h.images, func(i *runtimev1.Image) bool { return i.GetId() == image.GetImage() })
	return nil
}

func (h *host) ImageFsInfo(context.Context) (*runtimev1.ImageFsInfoResponse, error) {
	return &runtimev1.ImageFsInfoResponse{ImageFilesystems: []*runtimev1.FilesystemUsage{{FsId: &runtimev1.FilesystemIdentifier{Mountpoint: "/images"}}}}, h.fail["ImageFsInfo"]
}

func (h *host) disk(string) (*stats.Disk, error) {
	used := h.taken
	for _, i := range h.images {
		used += i.GetSize()
	}
	return &stats.Disk{Total: size, Available: size - used}, nil
}

func (h *host) has() string {
	var ids []string
	for _, i := range h.images {
		ids = append(ids, i.GetId())
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

func image(id string, bytes uint64) *runtimev1.Image {
	return &runtimev1.Image{Id: id, RepoTags: []string{"docker.io/library/" + id + ":latest"}, Size: bytes}
}

func newCollector(t *testing.T, h *host) *Collector {
	t.Helper()
	if h.policy == (Policy{}) {
		h.policy = Default()
	}
	if h.fail == nil {
		h.fail = map[string]error{}
	}
	c, err := New(Config{
		Policy: h.policy, Runtimes: func() map[string]Runtime { return map[string]Runtime{"one": h} }, Wanted: func() []string { return h.wanted },
		Keep: func(name string) bool { return h.keep != "" && strings.HasPrefix(name, h.keep) }, Disk: h.disk, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func collect(t *testing.T, c *Collector, now time.Time) {
	t.Helper()
	if err := c.Collect(t.Context(), now); err != nil {
		t.Fatal(err)
	}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestFreesTheLongestUnusedFirst(t *testing.T) {
	pinned := image("pinned", 100)
	pinned.Pinned = true
	h := &host{
		images:     []*runtimev1.Image{image("a", 100), image("b", 100), image("c", 100), image("wanted", 100), image("kept", 100), pinned},
		containers: []*runtimev1.Container{{ImageRef: "a"}, {Image: &runtimev1.ImageSpec{Image: "docker.io/library/b:latest"}}},
		wanted:     []string{"wanted", "no image at all"}, keep: "docker.io/library/kept",
	}
	c := newCollector(t, h)
	collect(t, c, noon) // a and b are in use now
	h.containers = h.containers[:1]
	collect(t, c, noon.Add(time.Minute)) // a is in use for longer than b was
	h.containers = nil
	h.taken = 240 // 84 %
	collect(t, c, noon.Add(5*time.Minute))
	if got := h.has(); got != "a b c kept pinned wanted" {
		t.Fatalf("at 84 %%: %s", got)
	}
	h.taken = 300 // 90 %: one has to go to come to 80, c, which was never used
	collect(t, c, noon.Add(10*time.Minute))
	if got := h.has(); got != "a b kept pinned wanted" {
		t.Fatalf("at 90 %%: %s", got)
	}
	h.taken = 440 // 94 %: two
	collect(t, c, noon.Add(15*time.Minute))
	if got := h.has(); got != "kept pinned wanted" {
		t.Fatalf("at 94 %%: %s", got)
	}
	h.taken = 600 // nothing is left that may go
	collect(t, c, noon.Add(20*time.Minute))
	if got := h.has(); got != "kept pinned wanted" {
		t.Fatalf("with all in use: %s", got)
	}
}

func TestOfTwoTheOneThatWasUsedLast(t *testing.T) {
	h := &host{images: []*runtimev1.Image{image("a", 100), image("b", 100)}, containers: []*runtimev1.Container{{ImageId: "a"}, {ImageRef: "b"}}}
	c := newCollector(t, h)
	collect(t, c, noon)
	h.containers = h.containers[:1]
	collect(t, c, noon.Add(time.Minute))
	h.containers, h.taken = nil, 660
	collect(t, c, noon.Add(5*time.Minute))
	if got := h.has(); got != "a" {
		t.Fatalf("left are %q, want a, which was used last", got)
	}
}

func TestNewImagesStay(t *testing.T) {
	h := &host{images: []*runtimev1.Image{image("a", 900)}}
	c := newCollector(t, h)
	collect(t, c, noon)
	collect(t, c, noon.Add(h.policy.MinAge-time.Second))
	if got := h.has(); got != "a" {
		t.Fatalf("an image that has just come is gone: %q", got)
	}
	collect(t, c, noon.Add(h.policy.MinAge))
	if got := h.has(); got != "" {
		t.Fatalf("left are %q", got)
	}
}

func TestUnusedForTooLong(t *testing.T) {
	h := &host{
		images:     []*runtimev1.Image{image("a", 1), image("b", 1)},
		containers: []*runtimev1.Container{{ImageRef: "a"}}, policy: Policy{High: 100, Low: 80, MaxAge: time.Hour},
	}
	c := newCollector(t, h)
	collect(t, c, noon)
	h.containers = nil
	h.images = append(h.images, image("new", 1))
	collect(t, c, noon.Add(30*time.Minute))
	collect(t, c, noon.Add(61*time.Minute))
	if got := h.has(); got != "new" {
		t.Fatalf("left are %q, want the one that came later", got)
	}
}

func TestReclaimTakesAllThatIsUnused(t *testing.T) {
	h := &host{images: []*runtimev1.Image{image("a", 1), image("b", 1)}, containers: []*runtimev1.Container{{ImageRef: "a"}}}
	c := newCollector(t, h)
	if err := c.Reclaim(t.Context()); err != nil || h.has() != "a" {
		t.Fatalf("left are %q, %v", h.has(), err)
	}
}

// An image stays that a pod comes to want while others are removed.
func TestReclaimLeavesWhatIsWantedMeanwhile(t *testing.T) {
	h := &host{images: []*runtimev1.Image{image("a", 1), image("b", 1), image("c", 1)}}
	h.removed = func() { h.wanted = []string{"docker.io/library/b:latest"} }
	if err := newCollector(t, h).Reclaim(t.Context()); err != nil || h.has() != "b" {
		t.Fatalf("left are %q, %v", h.has(), err)
	}
}

func TestNothingGoesWhereUseIsUnknown(t *testing.T) {
	away := status.Error(codes.Unavailable, "away")
	for _, call := range []string{"ListImages", "ListContainers", "ImageStatus"} {
		h := &host{images: []*runtimev1.Image{image("a", 900)}, wanted: []string{"x"}, fail: map[string]error{call: away}}
		c := newCollector(t, h)
		for _, err := range []error{c.Collect(t.Context(), noon), c.Collect(t.Context(), noon.Add(time.Hour)), c.Reclaim(t.Context())} {
			if err == nil || h.has() != "a" {
				t.Errorf("without %s: %v, left are %q", call, err, h.has())
			}
		}
	}
}

func TestOneThatStaysDoesNotKeepTheOthers(t *testing.T) {
	h := &host{images: []*runtimev1.Image{image("a", 1), image("b", 1)}, fail: map[string]error{"RemoveImage a": errors.New("busy")}}
	if err := newCollector(t, h).Reclaim(t.Context()); err == nil || h.has() != "a" {
		t.Fatalf("left are %q, %v", h.has(), err)
	}
}

func TestRunCollectsNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{images: []*runtimev1.Image{image("a", 900)}}
		c := newCollector(t, h)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(interval + time.Second)
		cancel()
		if err := <-done; err != nil || h.has() != "" {
			t.Errorf("left are %q, %v", h.has(), err)
		}
	})
}

func TestPolicy(t *testing.T) {
	bad := []Policy{{}, {High: 101, Low: 1}, {High: 80, Low: 80}, {High: 80, Low: -1}, {High: 85, Low: 80, MinAge: -1}, {High: 85, Low: 80, MinAge: 2, MaxAge: 1}}
	for _, p := range bad {
		if p.Validate() == nil {
			t.Errorf("%+v is taken", p)
		}
	}
}
