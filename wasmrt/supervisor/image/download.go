package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"
)

const (
	// chunk is what one request fetches of a large blob.
	chunk = 4 << 20
	// parallelFrom is the size from which on a blob comes over several connections: below it one is as fast.
	parallelFrom = 2 * chunk
	// streams is how many requests one blob is fetched with.
	streams = 4
	// attempts without one byte more, before a host is given up.
	attempts = 3
	// firstPause is what lies between the first two of them; each further pause is three times as long.
	firstPause = 200 * time.Millisecond
)

// errNoRanges says that the host sends blobs only whole.
var errNoRanges = errors.New("registry does not serve parts of blobs")

// blob downloads one into an incoming file, from the first host that has it, and verifies it. Whoever gets the part has
// to leave it.
func (d *download) blob(ctx context.Context, desc v1.Descriptor) (*part, error) {
	f, err := d.puller.cfg.Store.incoming.take(ctx, d.repo, desc.Digest.String())
	if err != nil {
		return nil, err
	}
	var failed []error
	got := &counter{of: d.progress}
	for _, s := range d.sources {
		r, err := s.remote(ctx)
		if err == nil {
			err = d.from(ctx, r, f, desc, got)
		}
		if err == nil {
			return f, nil
		}
		failed = append(failed, &hostError{s.host.String(), err})
		if ctx.Err() != nil {
			break
		}
	}
	err = worst(failed)
	got.set(0)
	if left := f.leave(errors.Is(err, errContent)); left != nil {
		err = errors.Join(err, left)
	}
	return nil, err
}

// errContent says that a blob came whole and was another.
var errContent = errors.New("blob has other content than its digest says")

// from fetches from one host what is missing. What is found to be wrong is fetched once more from its begin, when it was
// not of this download alone.
func (d *download) from(ctx context.Context, r *remote, f *part, desc v1.Descriptor, got *counter) error {
	for {
		begun, err := f.begun()
		if err != nil {
			return err
		}
		if begun > desc.Size {
			begun = 0
		}
		if err := f.Truncate(begun); err != nil {
			return fmt.Errorf("cut download: %w", err)
		}
		got.set(begun)
		fresh := false
		if begun < desc.Size {
			whole := &span{r: r, f: f, got: got, digest: desc.Digest.String(), size: desc.Size, from: begun, to: desc.Size}
			if fresh, err = whole.fill(ctx); err != nil {
				return err
			}
		}
		digest, err := f.digest()
		if err != nil || digest == desc.Digest.String() {
			return err
		}
		if err := f.Truncate(0); err != nil {
			return fmt.Errorf("cut download: %w", err)
		}
		if fresh {
			return fmt.Errorf("%w: %w: %s came as %s", ErrUnavailable, errContent, desc.Digest, digest)
		}
	}
}

// span is a part of a blob that one request at a time fetches.
type span struct {
	r        *remote
	f        *part
	got      *counter
	digest   string
	size     int64 // of the blob
	from, to int64
	// alone says that no other request writes to the part, so that it may begin again; restarted that it did.
	alone, restarted bool
}

// fill fetches the span, which reaches to the end of the blob. It tells whether in the end no byte was of an earlier
// download.
func (s *span) fill(ctx context.Context) (fresh bool, err error) {
	begun := s.from
	if s.to-s.from < parallelFrom {
		s.alone = true
		err = s.fetch(ctx)
	} else {
		err = s.parallel(ctx)
	}
	if errors.Is(err, errNoRanges) {
		s.alone = true
		if err = s.restart(); err == nil {
			err = s.fetch(ctx)
		}
	}
	return begun == 0 || s.restarted, err
}

// restart sets the span, which is the only one, to the blob's begin.
func (s *span) restart() error {
	if err := s.f.Truncate(0); err != nil {
		return fmt.Errorf("cut download: %w", err)
	}
	s.got.set(0)
	s.from, s.restarted = 0, true
	return nil
}

// parallel fetches the span by several requests at once.
func (s *span) parallel(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(streams)
	for from := s.from; from < s.to && ctx.Err() == nil; from += chunk {
		piece := *s
		piece.from, piece.to = from, min(from+chunk, s.to)
		if from == s.from { // alone: it finds out whether the host serves parts
			if err := piece.fetch(ctx); err != nil {
				return errors.Join(err, group.Wait())
			}
			continue
		}
		group.Go(func() error { return piece.fetch(ctx) })
	}
	return group.Wait()
}

// fetch fetches the span, and goes on where it was cut off as long as there is progress.
func (s *span) fetch(ctx context.Context) error {
	var err error
	best, pause := s.from, firstPause
	for tries := 0; tries < attempts; tries++ {
		if tries > 0 && !sleep(ctx, pause) {
			break
		}
		before := s.from
		now := s.once(ctx)
		if s.alone && errors.Is(now, errNoRanges) {
			if now = s.restart(); now == nil {
				before, now = 0, s.once(ctx)
			}
		}
		if err = now; err == nil || !again(err) || ctx.Err() != nil {
			return err
		}
		if s.from > best && s.from > before {
			best, tries = s.from, 0
		} else {
			pause *= 3
		}
	}
	return err
}

// once makes one request and moves the span's begin on by what came.
func (s *span) once(ctx context.Context) error {
	to := s.to
	if s.from == 0 && s.to == s.size {
		to = 0 // the whole: nothing to ask for in particular
	}
	resp, err := s.r.get(ctx, blobPart, s.digest, s.from, to)
	if err != nil {
		return err
	}
	err = s.copy(resp, to > 0)
	return errors.Join(err, resp.Body.Close())
}

func (s *span) copy(resp *http.Response, ranged bool) error {
	want := s.to - s.from
	if ranged {
		if resp.StatusCode != http.StatusPartialContent {
			return errNoRanges
		}
		if got, ok := startOf(resp.Header.Get("Content-Range")); !ok || got != s.from {
			return fmt.Errorf("%w: asked for bytes from %d on, the registry sent %q", ErrUnavailable, s.from, resp.Header.Get("Content-Range"))
		}
	}
	if resp.ContentLength > want {
		return fmt.Errorf("%w: %s has %d bytes, its descriptor says %d", ErrUnavailable, s.digest, resp.ContentLength, s.size)
	}
	n, err := io.Copy(io.MultiWriter(io.NewOffsetWriter(s.f.File, s.from), s.got), io.LimitReader(resp.Body, want))
	s.from += n
	if err != nil {
		return err
	}
	if s.from < s.to {
		return fmt.Errorf("%w: %s ends after %d of %d bytes", io.ErrUnexpectedEOF, s.digest, s.from, s.to)
	}
	if more, _ := resp.Body.Read(make([]byte, 1)); more > 0 {
		return fmt.Errorf("%w: %s goes on behind the %d bytes of its descriptor", ErrUnavailable, s.digest, s.size)
	}
	return nil
}

// startOf reads the first byte's place in a Content-Range.
func startOf(header string) (int64, bool) {
	var from, to int64
	n, err := fmt.Sscanf(header, "bytes %d-%d/", &from, &to)
	return from, err == nil && n == 2 && from >= 0 && to >= from
}

// again says whether asking once more may help: after cut connections and servers' troubles, not after a refusal.
func again(err error) bool {
	if errors.Is(err, errNoRanges) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrConfig) ||
		errors.Is(err, errNoTLS) || errors.Is(err, os.ErrPermission) {
		return false
	}
	var te *transport.Error
	if errors.As(err, &te) {
		return te.StatusCode == http.StatusTooManyRequests || te.StatusCode == http.StatusRequestTimeout || te.StatusCode >= 500
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// again does what may fail for a moment.
func (p *Puller) again(ctx context.Context, do func() error) error {
	pause := firstPause
	for tries := 1; ; tries++ {
		err := do()
		if err == nil || tries == attempts || !again(err) || !sleep(ctx, pause) {
			return err
		}
		pause *= 3
	}
}
