package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/steering"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/front"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
)

const (
	// steerRetryMin and steerRetryMax bound the pause before whoever steers is looked for again; it doubles.
	steerRetryMin = 50 * time.Millisecond
	steerRetryMax = 2 * time.Second
	// steerTimeout bounds what is said of one container.
	steerTimeout = 5 * time.Second
)

// steerage has runners' shared sockets get what arrives for their containers' addresses, through whoever steers. While
// nobody does, containers have sockets of their own.
type steerage struct {
	path string
	log  *slog.Logger
	on   atomic.Bool // a container that starts now may count on it
	wg   sync.WaitGroup

	// mu is held from a decision until it has been said, so that what is said last is what was decided last.
	mu     sync.Mutex
	client *steering.Client // nil while nobody steers
	owner  map[netip.AddrPort]*container
}

func newSteerage(path string, log *slog.Logger) *steerage {
	return &steerage{path: path, log: log, owner: map[netip.AddrPort]*container{}}
}

// own notes who listens where. The mutex is held.
func (t *steerage) own(c *container, addresses []netip.AddrPort) {
	c.steered = addresses
	c.isSteered.Store(true)
	for _, at := range addresses {
		t.owner[at] = c
	}
}

// listen has the sockets get what arrives for the container, which was started to share them. When that cannot be had, the
// container listens by itself.
func (t *steerage) listen(ctx context.Context, c *container, r *fleet.Runner, shared *control.Shared, files []*os.File) error {
	if len(shared.Addresses) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own(c, shared.Addresses)
	err := steering.ErrClosed
	if t.client != nil {
		err = tell(ctx, t.client, shared.Addresses, shared.Listeners, files)
	}
	if c.hasExited() { // maybe before it was known to be steered
		t.forget(c)
		return nil
	}
	if err == nil {
		return nil
	}
	t.log.Warn("connections are not steered; the container listens by itself", "container", c.record.ID, "error", err)
	return r.Call(ctx, control.MethodListen, control.Target{ID: c.record.ID}, nil)
}

func (c *container) hasExited() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// tell says which sockets get what arrives for the addresses.
func tell(ctx context.Context, client *steering.Client, addresses []netip.AddrPort, networks []string, files []*os.File) error {
	if len(networks) != len(files) {
		return errors.New("the runner named other sockets than it sent")
	}
	var errs []error
	for i, network := range networks {
		var its []netip.AddrPort
		for _, at := range addresses {
			if front.Network(at) == network {
				its = append(its, at)
			}
		}
		if len(its) > 0 {
			errs = append(errs, client.Listen(ctx, files[i], its...))
		}
	}
	return errors.Join(errs...)
}

// leave has nothing arrive for the container any more, but for what is another's meanwhile.
func (t *steerage) leave(c *container) {
	if !c.isSteered.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(c)
}

// leaveSoon is leave for who cannot wait.
func (t *steerage) leaveSoon(c *container) {
	if c.isSteered.Load() {
		t.wg.Go(func() { t.leave(c) })
	}
}

// forget is leave with the mutex held.
func (t *steerage) forget(c *container) {
	var gone []netip.AddrPort
	for _, at := range c.steered {
		if t.owner[at] == c {
			delete(t.owner, at)
			gone = append(gone, at)
		}
	}
	c.steered = nil
	c.isSteered.Store(false)
	if t.client == nil || len(gone) == 0 {
		return // the next settling does it
	}
	ctx, cancel := context.WithTimeout(context.Background(), steerTimeout)
	defer cancel()
	if err := t.client.Remove(ctx, gone...); err != nil && !errors.Is(err, steering.ErrClosed) {
		t.log.Error("connections to a container that ended are still steered", "container", c.record.ID, "error", err)
	}
}
