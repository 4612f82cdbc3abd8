package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/cgroup"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// ListenerFD is the descriptor at which a runner finds its listener.
const ListenerFD = 3

// ErrClosed is what a fleet answers that was closed.
var ErrClosed = errors.New("the supervisor is ending")

// Timing is how patient a fleet is. Zero fields get the defaults.
type Timing struct {
	Linger  time.Duration // from the last sandbox of a namespace to the end of its runner; 10 s
	Ping    time.Duration // between two questions whether a runner is alive; 10 s
	Silence time.Duration // how long an answer may take before the runner counts as hung; 30 s
	Greet   time.Duration // how long a new runner may take to greet; 10 s
	// Settled is how long a runner must have lived for its death to count as the first of a row; 1 min. After the first
	// death of a row the next runner may start at once, after the second Backoff later, and so on, doubling up to
	// MaxBackoff; 1 s and 1 min.
	Settled, Backoff, MaxBackoff time.Duration
}

func (t Timing) withDefaults() Timing {
	for _, f := range []struct {
		field *time.Duration
		def   time.Duration
	}{{&t.Linger, 10 * time.Second}, {&t.Ping, 10 * time.Second}, {&t.Silence, 30 * time.Second}, {&t.Greet, 10 * time.Second},
		{&t.Settled, time.Minute}, {&t.Backoff, time.Second}, {&t.MaxBackoff, time.Minute}} {
		if *f.field == 0 {
			*f.field = f.def
		}
	}
	return t
}

// Config is what a Fleet needs.
type Config struct {
	Store *state.Store
	// Command makes the command of a namespace's runner. Streams, descriptors and session are set by the fleet.
	Command func(namespace string) *exec.Cmd
	// User answers the user id of a namespace's runner; 0 is ours. Nil: it is always ours.
	User func(namespace string) (uint32, error)
	// Groups answers what bounds the runners. Nil, or answering nil: nothing does.
	Groups func() *cgroup.Manager
	// OnStatus is told of each event, in order for each runner. It must not call the runner.
	OnStatus func(r *Runner, s control.Status)
	// OnDeath is told when a runner has died that was not asked to. Its Gone is closed, and no event of it follows.
	OnDeath func(r *Runner, d Death)
	// OnReconnect is told when events may have been missed: the runner is to be listed.
	OnReconnect func(r *Runner)
	// Needed says whether a namespace has sandboxes. It is asked before its runner is ended.
	Needed func(namespace string) bool
	Timing Timing
	Logger *slog.Logger
	Now    func() time.Time
}

// Validate names what is missing.
func (c *Config) Validate() error {
	if c.Store == nil || c.Command == nil || c.OnStatus == nil || c.OnDeath == nil || c.OnReconnect == nil || c.Needed == nil || c.Logger == nil || c.Now == nil {
		return errors.New("fleet: Store, Command, the four callbacks, Logger and Now are required")
	}
	return nil
}

// Fleet is all runners. It is safe for concurrent use.
type Fleet struct {
	cfg    Config
	ctx    context.Context // of watching; its end leaves runners alone
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	slots  map[string]*slot
	closed bool
}

// slot is a namespace's place. Its mutex is held while the runner is started or ended.
type slot struct {
	mu     sync.Mutex
	runner *Runner     // nil when there is none
	linger *time.Timer // runs when no sandbox needs the runner
	row    deaths
	past   string // the key of the runner that was replaced, while it ends
}

// New returns a fleet without runners. It does no I/O.
func New(cfg Config) (*Fleet, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Timing = cfg.Timing.withDefaults()
	f := &Fleet{cfg: cfg, slots: map[string]*slot{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f, nil
}

// Key names a namespace's runner on disk: namespaces of Kubernetes are short and tame, those of other clients need not be.
func Key(namespace string) string {
	sum := sha256.Sum256([]byte(namespace))
	return hex.EncodeToString(sum[:8])
}

func (f *Fleet) slot(namespace string) (*slot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	s := f.slots[namespace]
	if s == nil {
		s = &slot{}
		f.slots[namespace] = s
	}
	return s, nil
}

// Ensure answers the namespace's runner, which it starts when there is none.
func (f *Fleet) Ensure(ctx context.Context, namespace string) (*Runner, error) {
	s, err := f.slot(namespace)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep()
	if s.runner != nil && s.runner.Alive() {
		return s.runner, nil
	}
	if err := s.row.pause(f.cfg.Now()); err != nil {
		return nil, fmt.Errorf("start runner of namespace %s: %w", namespace, err)
	}
	r, err := f.start(ctx, namespace, s.keyFor(namespace), "")
	if err != nil {
		if ctx.Err() == nil {
			s.row.died(f.cfg.Now(), 0, f.cfg.Timing)
		}
		return nil, fmt.Errorf("start runner of namespace %s: %w", namespace, err)
	}
	if err := f.watch(s, r); err != nil {
		return nil, err
	}
	return r, nil
}

// Get answers the namespace's runner when it has one.
func (f *Fleet) Get(namespace string) *Runner {
	s, err := f.slot(namespace)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runner != nil && s.runner.Alive() {
		return s.runner
	}
	return nil
}

// All answers every runner that lives.
func (f *Fleet) All() []*Runner {
	f.mu.Lock()
	slots := make([]*slot, 0, len(f.slots))
	for _, s := range f.slots {
		slots = append(slots, s)
	}
	f.mu.Unlock()
	var all []*Runner
	for _, s := range slots {
		s.mu.Lock()
		if s.runner != nil && s.runner.Alive() {
			all = append(all, s.runner)
		}
		s.mu.Unlock()
	}
	return all
}

// keep cancels the end of a runner that is needed again.
func (s *slot) keep() {
	if s.linger != nil {
		s.linger.Stop()
		s.linger = nil
	}
}

// Adopt takes over a runner that an earlier supervisor started. An error says that it is gone or of no use: then its
// process has ended and its record is removed.
func (f *Fleet) Adopt(ctx context.Context, record *state.Runner) (*Runner, error) {
	s, err := f.slot(record.Namespace)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := f.adopt(ctx, record)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("adopt runner of namespace %s: %w", record.Namespace, err), f.cfg.Store.RemoveRunner(record.Key))
	}
	if err := f.watch(s, r); err != nil {
		return nil, err
	}
	f.cfg.Logger.Info("runner adopted", "namespace", record.Namespace, "pid", record.PID)
	return r, nil
}

func (f *Fleet) adopt(ctx context.Context, record *state.Runner) (*Runner, error) {
	// The process is held before it is asked who it is: if the socket is its, it is the one that is held.
	p, err := find(record.PID)
	if err != nil {
		return nil, err
	}
	r := &Runner{record: record, process: p, gone: make(chan struct{})}
	if groups := f.groups(); groups != nil {
		if r.group, err = groups.Find(record.Key); err != nil {
			p.close()
			return nil, err
		}
		r.oomBefore = r.group.OutOfMemory()
	}
	err = f.connect(ctx, r)
	if err == nil {
		err = r.fits()
	}
	if err == nil {
		return r, nil
	}
	if r.client != nil {
		_ = r.client.Close()
	}
	// Whose socket nobody holds is not a runner any more, and its number may be a stranger's. One that holds its socket
	// but cannot be talked to is of no use: its pods could not even be stopped.
	if owner, ownerErr := socketOwner(record.Socket); ownerErr == nil && owner == record.PID {
		p.kill()
		p.wait(ctx, f.cfg.Timing.Greet)
	}
	p.close()
	return nil, err
}
