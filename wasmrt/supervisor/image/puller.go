package image

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/singleflight"
)

// Compiled is what the compiler found out about a module.
type Compiled struct {
	Kind   string
	Micros int64
	Cached bool
}

// Compiler inspects and compiles a module in a process of its own, so that a module made to hurt does not hurt the
// supervisor. Its error for a module that cannot run here is ErrUnsupported and says why.
type Compiler interface {
	Compile(ctx context.Context, modulePath, digest string) (Compiled, error)
}

// Config is what a Puller needs.
type Config struct {
	Store     *Store
	Compiler  Compiler
	Mirrors   Mirrors
	MirrorTLS *MirrorTLS // nil: mirrors are asked as other registries are
	UserAgent string
	Now       func() time.Time
}

// Validate names what is missing.
func (c *Config) Validate() error {
	if c.Store == nil || c.Compiler == nil || c.Now == nil {
		return errors.New("image puller: Store, Compiler and Now are required")
	}
	return nil
}

// Puller fetches images. It is safe for concurrent use.
type Puller struct {
	cfg       Config
	transport *byHost
	flights   singleflight.Group // by reference and credentials
	digests   singleflight.Group // by manifest's digest

	mu     sync.Mutex
	closed bool
	ctx    context.Context // of all pulls
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// NewPuller returns a puller. It does no I/O. Close ends what runs.
func NewPuller(cfg Config) (*Puller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Puller{cfg: cfg, transport: newByHost(cfg.Mirrors, cfg.MirrorTLS)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// Close ends the pulls that run and waits for them.
func (p *Puller) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
	p.transport.closeIdle()
}

// Pull makes the image that ref names present and answers it. Callers who want the same image at the same time share
// one pull, which goes on when one of them leaves.
func (p *Puller) Pull(ctx context.Context, ref string, auth authn.AuthConfig) (*Image, error) {
	r, err := parse(ref)
	if err != nil {
		return nil, err
	}
	if _, byDigest := r.(name.Digest); byDigest && auth == (authn.AuthConfig{}) {
		// What a digest names never changes. Credentials, though, are to be shown to the registry.
		if i, err := p.cfg.Store.Get(ref); err == nil {
			return i, nil
		}
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, fmt.Errorf("pull %s: %w", ref, context.Canceled)
	}
	p.wg.Add(1) // before Close can wait
	p.mu.Unlock()
	key := strings.Join([]string{canonical(r), auth.Username, auth.Password, auth.Auth, auth.IdentityToken, auth.RegistryToken}, "\x00")
	type outcome struct {
		image any
		err   error
	}
	done := make(chan outcome, 1)
	go func() { // the flight outlives callers who leave
		defer p.wg.Done()
		i, err, _ := p.flights.Do(key, func() (any, error) {
			ctx, cancel := context.WithTimeout(p.ctx, PullTimeout)
			defer cancel()
			return p.pull(ctx, r, auth)
		})
		done <- outcome{i, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, o.err
		}
		return o.image.(*Image), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("pull %s: %w", ref, ctx.Err())
	}
}

func (p *Puller) pull(ctx context.Context, r name.Reference, auth authn.AuthConfig) (*Image, error) {
	asked, err := p.cfg.Mirrors.resolve(r)
	if err != nil {
		return nil, err
	}
	rp, err := remote.NewPuller(
		remote.WithTransport(limited{p.transport}),
		remote.WithAuth(authn.FromConfig(auth)),
		remote.WithUserAgent(p.cfg.UserAgent),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}),
	)
	if err != nil {
		return nil, fmt.Errorf("prepare pull: %w", err)
	}
	img, err := fetchImage(ctx, rp, asked)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", canonical(r), classify(err))
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", canonical(r), classify(err))
	}
	defer p.cfg.Store.pulling()() // until the record names what was fetched
	stored, err, _ := p.digests.Do(digest.String(), func() (any, error) { return p.store(ctx, img, digest.String()) })
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", canonical(r), classify(err))
	}
	tag := ""
	if _, ok := r.(name.Tag); ok {
		tag = canonical(r)
	}
	return p.cfg.Store.put(stored.(*Image), tag, canonical(r.Context().Digest(digest.String())))
}

// fetchImage reads the manifest; of an index, the one for Wasm or the only one.
func fetchImage(ctx context.Context, rp *remote.Puller, ref name.Reference) (v1.Image, error) {
	desc, err := rp.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	switch desc.MediaType {
	case types.OCIManifestSchema1, types.DockerManifestSchema2:
		return desc.Image()
	case types.OCIImageIndex, types.DockerManifestList:
	default:
		return nil, fmt.Errorf("%w: its manifest is %s; %s", ErrUnsupported, desc.MediaType, accepted)
	}
	index, err := desc.ImageIndex()
	if err != nil {
		return nil, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	digest, err := pickFromIndex(m)
	if err != nil {
		return nil, err
	}
	return index.Image(digest)
}

func pickFromIndex(m *v1.IndexManifest) (v1.Hash, error) {
	var platforms []string
	for _, d := range m.Manifests {
		if d.Platform != nil {
			if strings.HasPrefix(d.Platform.Architecture, "wasm") {
				return d.Digest, nil
			}
			platforms = append(platforms, d.Platform.String())
		}
	}
	if len(m.Manifests) == 1 {
		return m.Manifests[0].Digest, nil
	}
	return v1.Hash{}, fmt.Errorf("%w: its index has no manifest for wasm, but for [%s]", ErrUnsupported, strings.Join(platforms, ", "))
}
