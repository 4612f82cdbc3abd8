package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
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
	Store    *Store
	Compiler Compiler
	Mirrors  Mirrors
	// HostsDir is a directory of registries' settings, certs.d as containerd reads it; empty: none.
	HostsDir  string
	MirrorTLS *MirrorTLS // nil: mirrors are asked as other registries are
	UserAgent string
	Now       func() time.Time
	Logger    *slog.Logger // nil: nothing is told

	stallTime time.Duration // 0: that of the package
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
	digests   singleflight.Group // by repository, credentials and the manifest's digest

	mu      sync.Mutex
	closed  bool
	running map[string][]*progress // pulls under way, by reference
	ctx     context.Context        // of all pulls
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// NewPuller returns a puller. It does no I/O. Close ends what runs.
func NewPuller(cfg Config) (*Puller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Puller{cfg: cfg, transport: newByHost(cfg.Mirrors, cfg.MirrorTLS), running: map[string][]*progress{}}
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
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, fmt.Errorf("pull %s: %w", ref, context.Canceled)
	}
	p.wg.Add(1) // before Close can wait
	p.mu.Unlock()
	key := canonical(r) + "\x00" + authKey(auth)
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
	pr, ended := p.begin(ctx, canonical(r))
	defer ended()
	d := &download{puller: p, repo: r.Context().Name(), progress: pr}
	defer d.close()
	doc, err := d.resolve(ctx, r, auth)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", canonical(r), classify(err))
	}
	defer p.cfg.Store.pulling()() // until the record names what was fetched
	key := strings.Join([]string{r.Context().Name(), doc.digest, authKey(auth)}, "\x00")
	stored, err, _ := p.digests.Do(key, func() (any, error) { return p.store(ctx, doc, d.fetch) })
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", canonical(r), classify(err))
	}
	if err := p.cfg.Store.incoming.prune(p.cfg.Now()); err != nil {
		p.cfg.Logger.Warn("old downloads stay", "error", err)
	}
	tag := ""
	if _, ok := r.(name.Tag); ok {
		tag = canonical(r)
	}
	return p.cfg.Store.put(stored.(*Image), tag, canonical(r.Context().Digest(doc.digest)))
}

func authKey(a authn.AuthConfig) string {
	return strings.Join([]string{a.Username, a.Password, a.Auth, a.IdentityToken, a.RegistryToken}, "\x00")
}

func (p *Puller) stall() time.Duration { return cmp.Or(p.cfg.stallTime, stallTime) }
