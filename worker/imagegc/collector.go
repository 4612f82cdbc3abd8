package imagegc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/stats"
)

// interval is how often is looked what is in use and how full the disk is.
const interval = 5 * time.Minute

// Runtime is what is asked of each runtime. worker/cri is it.
type Runtime interface {
	ListImages(ctx context.Context) ([]*runtimev1.Image, error)
	ListContainers(ctx context.Context, filter *runtimev1.ContainerFilter) ([]*runtimev1.Container, error)
	ImageStatus(ctx context.Context, image *runtimev1.ImageSpec) (*runtimev1.Image, error)
	RemoveImage(ctx context.Context, image *runtimev1.ImageSpec) error
	ImageFsInfo(ctx context.Context) (*runtimev1.ImageFsInfoResponse, error)
}

// Config says what a collector works on.
type Config struct {
	Policy Policy
	// Runtimes are the node's, by name; the list may change.
	Runtimes func() map[string]Runtime
	// Wanted are the images that pods of the node name, whether they run yet or not.
	Wanted func() []string
	// Keep tells by a name of an image that it is never removed; nil: none is kept.
	Keep func(name string) bool
	// Disk asks for a file system; stats.ReadDisk.
	Disk   func(dir string) (*stats.Disk, error)
	Logger *slog.Logger
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	if c.Runtimes == nil || c.Wanted == nil || c.Disk == nil || c.Logger == nil {
		return errors.New("image GC needs runtimes, the pods' images, disks and a logger")
	}
	return c.Policy.Validate()
}

// Collector removes images.
type Collector struct {
	cfg Config

	mu    sync.Mutex // held through a whole collection: two must not free the same
	known map[key]*record
}

// key names an image: runtimes have images of their own.
type key struct{ runtime, id string }

// record is what is remembered of an image.
type record struct{ seen, used time.Time }

// candidate is an image that nothing uses.
type candidate struct {
	key
	image *runtimev1.Image
	*record
}

// New makes a collector.
func New(cfg Config) (*Collector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Collector{cfg: cfg, known: map[key]*record{}}, nil
}

// Run collects now and then until ctx ends.
func (c *Collector) Run(ctx context.Context) error {
	for {
		if err := c.Collect(ctx, time.Now()); err != nil && ctx.Err() == nil {
			c.cfg.Logger.Warn("images were not collected", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// Collect looks what is in use and does what the policy asks for.
func (c *Collector) Collect(ctx context.Context, now time.Time) error {
	return c.each(ctx, now, func(rt Runtime, unused []candidate) error {
		unused, err := c.expire(ctx, rt, unused, now)
		excess, diskErr := c.excess(ctx, rt)
		if err = errors.Join(err, diskErr); err != nil || excess <= 0 {
			return err
		}
		old := slices.DeleteFunc(unused, func(i candidate) bool { return now.Sub(i.seen) < c.cfg.Policy.MinAge })
		freed, err := c.free(ctx, rt, old, excess)
		if err == nil && freed < excess {
			c.cfg.Logger.Warn("too little could be freed of unused images", "wanted", excess, "freed", freed)
		}
		return err
	})
}

// Reclaim removes every image that nothing uses.
func (c *Collector) Reclaim(ctx context.Context) error {
	return c.each(ctx, time.Now(), func(rt Runtime, unused []candidate) error {
		_, err := c.free(ctx, rt, unused, math.MaxInt64)
		return err
	})
}

// each does something with each runtime's unused images, of which the longest unused come first. A runtime that fails
// does not keep the others from it.
func (c *Collector) each(ctx context.Context, now time.Time, do func(Runtime, []candidate) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var failed error
	all := c.cfg.Runtimes()
	for name, rt := range all {
		unused, err := c.detect(ctx, name, rt, now)
		if err == nil {
			err = do(rt, unused)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("images of runtime %s: %w", name, err))
		}
	}
	for k := range c.known {
		if all[k.runtime] == nil {
			delete(c.known, k)
		}
	}
	return failed
}

// detect brings what is known of a runtime's images up to date and answers those that nothing uses.
func (c *Collector) detect(ctx context.Context, name string, rt Runtime, now time.Time) ([]candidate, error) {
	images, err := rt.ListImages(ctx)
	if err != nil {
		return nil, err
	}
	inUse, err := c.inUse(ctx, rt)
	if err != nil {
		return nil, err
	}
	there := map[key]bool{}
	var unused []candidate
	for _, i := range images {
		k := key{name, i.GetId()}
		there[k] = true
		if c.known[k] == nil {
			c.known[k] = &record{seen: now}
		}
		switch {
		case i.GetPinned() || c.kept(i):
		case names(i, inUse):
			c.known[k].used = now
		default:
			unused = append(unused, candidate{k, i, c.known[k]})
		}
	}
	for k := range c.known {
		if k.runtime == name && !there[k] {
			delete(c.known, k)
		}
	}
	slices.SortFunc(unused, func(a, b candidate) int {
		return cmp.Or(a.used.Compare(b.used), a.seen.Compare(b.seen), cmp.Compare(a.id, b.id))
	})
	return unused, nil
}

// inUse are the names and ids of images that containers and pods have.
func (c *Collector) inUse(ctx context.Context, rt Runtime) (map[string]bool, error) {
	containers, err := rt.ListContainers(ctx, nil)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, one := range containers {
		for _, ref := range []string{one.GetImage().GetImage(), one.GetImage().GetUserSpecifiedImage(), one.GetImageRef(), one.GetImageId()} {
			out[ref] = true
		}
	}
	asked := map[string]bool{"": true}
	for _, ref := range c.cfg.Wanted() {
		if asked[ref] {
			continue
		}
		asked[ref], out[ref] = true, true
		image, err := rt.ImageStatus(ctx, &runtimev1.ImageSpec{Image: ref}) // the runtime knows what a short name means
		switch {
		case err == nil:
			out[image.GetId()] = true
		case cri.IsUnavailable(err):
			return nil, err
		default: // a pod may name what is no image's name: it uses none
			c.cfg.Logger.Debug("image was not looked for", "image", ref, "error", err)
		}
	}
	delete(out, "")
	return out, nil
}

// wantedNow tells whether a pod has come to name the image since it was found that none does: removing many takes its time.
func (c *Collector) wantedNow(i *runtimev1.Image) bool {
	all := map[string]bool{}
	for _, ref := range c.cfg.Wanted() {
		all[ref] = true
	}
	return names(i, all)
}

func (c *Collector) kept(i *runtimev1.Image) bool {
	return c.cfg.Keep != nil && slices.ContainsFunc(slices.Concat(i.GetRepoTags(), i.GetRepoDigests()), c.cfg.Keep)
}

// names tells whether the image has one of the names.
func names(i *runtimev1.Image, all map[string]bool) bool {
	return all[i.GetId()] || slices.ContainsFunc(slices.Concat(i.GetRepoTags(), i.GetRepoDigests()), func(ref string) bool { return all[ref] })
}

// expire removes what has lain unused for longer than it may, and answers the rest.
func (c *Collector) expire(ctx context.Context, rt Runtime, unused []candidate, now time.Time) ([]candidate, error) {
	if c.cfg.Policy.MaxAge == 0 {
		return unused, nil
	}
	var old, rest []candidate
	for _, i := range unused {
		since := i.used
		if since.IsZero() {
			since = i.seen
		}
		if now.Sub(since) > c.cfg.Policy.MaxAge {
			old = append(old, i)
		} else {
			rest = append(rest, i)
		}
	}
	_, err := c.free(ctx, rt, old, math.MaxInt64)
	return rest, err
}

// excess is how much has to be freed on the disk of a runtime's images.
func (c *Collector) excess(ctx context.Context, rt Runtime) (int64, error) {
	info, err := rt.ImageFsInfo(ctx)
	if err != nil {
		return 0, err
	}
	for _, fs := range info.GetImageFilesystems() {
		disk, err := c.cfg.Disk(fs.GetFsId().GetMountpoint())
		if err != nil {
			return 0, err
		}
		used := disk.Total - min(disk.Total, disk.Available)
		if disk.Total == 0 || c.cfg.Policy.High == 100 || used < disk.Total/100*uint64(c.cfg.Policy.High) {
			continue
		}
		return int64(used - disk.Total/100*uint64(c.cfg.Policy.Low)), nil
	}
	return 0, nil
}

// free removes images until so many bytes are free.
func (c *Collector) free(ctx context.Context, rt Runtime, unused []candidate, bytes int64) (freed int64, failed error) {
	for _, i := range unused {
		if freed >= bytes || ctx.Err() != nil {
			break
		}
		if c.wantedNow(i.image) {
			continue
		}
		if err := rt.RemoveImage(ctx, &runtimev1.ImageSpec{Image: i.id}); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		c.cfg.Logger.Info("removed an unused image", "image", slices.Concat(i.image.GetRepoTags(), i.image.GetRepoDigests(), []string{i.id})[0], "bytes", i.image.GetSize())
		freed += int64(i.image.GetSize())
		delete(c.known, i.key)
	}
	return freed, failed
}
