package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/doors"
	"github.com/petrelrun/petrel/wasmrt/runner/front"
)

// Runner holds a namespace's containers.
type Runner struct {
	cfg       Config
	engine    *engine.Engine
	templates *templates
	hub       *control.Hub
	keeper    *doors.Keeper
	front     *front.Front
	chores    *chores
	quit      chan struct{} // closed when the supervisor asked to end
	quitOnce  sync.Once

	confinement map[string]string // set before anybody connects

	// ctx is that of every container's work. It ends with the process's work, not with a connection.
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu         sync.Mutex
	containers map[string]*container
	ending     bool
}

var errEnding = errors.New("the runner is ending")

// New returns a runner. It does no I/O.
func New(cfg Config) (*Runner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e, err := engine.New(context.Background(), engine.Config{CacheDir: cfg.CacheDir, ReadOnlyCache: cfg.CacheDir != "", Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("make engine: %w", err)
	}
	r := &Runner{cfg: cfg, engine: e, hub: control.NewHub(), front: front.New(cfg.Logger), quit: make(chan struct{}), containers: map[string]*container{}}
	r.templates = newTemplates(e, cfg.Logger)
	r.chores = newChores(r.templates.littered)
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	return r, nil
}

// Run serves until ctx ends, the supervisor asks to end, or nobody needs the runner any more. All containers have ended
// when it returns.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.prepare(); err != nil {
		return errors.Join(err, r.cfg.Listener.Close(), r.engine.Close())
	}
	connections, hangUp := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.accept(connections, &wg) })
	wg.Go(func() { r.templates.run(connections) })
	wg.Go(func() { r.chores.run(connections) })
	wg.Go(func() {
		if err := r.keeper.Run(); err != nil {
			r.cfg.Logger.Error("idle pods are not woken any more", "error", err)
		}
	})
	r.cfg.Logger.Debug("runner started", "namespace", r.cfg.Namespace, "pid", os.Getpid())

	why := r.wait(ctx)
	r.cfg.Logger.Debug("runner ends", "reason", why)
	r.stopAll(exitGrace)
	r.cancel(errEnding)
	err := r.cfg.Listener.Close()
	hangUp()
	closeErr := errors.Join(r.keeper.Close(), r.front.Close())
	wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, closeErr, r.templates.close(), r.engine.Close())
}

// prepare confines the process and opens what it needs before anybody is let in.
func (r *Runner) prepare() (err error) {
	if r.cfg.Confine != nil {
		if r.confinement, err = r.cfg.Confine(); err != nil {
			return err
		}
	}
	r.keeper, err = doors.NewKeeper()
	return err
}

// wait blocks until there is a reason to end, and names it.
func (r *Runner) wait(ctx context.Context) string {
	tick := time.NewTicker(idleExit / 4)
	defer tick.Stop()
	var idleSince time.Time
	for {
		select {
		case <-ctx.Done():
			return "signal"
		case <-r.quit:
			return "shutdown"
		case <-tick.C:
		}
		switch now := r.cfg.Now(); {
		case !r.idle():
			idleSince = time.Time{}
		case idleSince.IsZero():
			idleSince = now
		case now.Sub(idleSince) >= idleExit:
			return "nobody needs it"
		}
	}
}

func (r *Runner) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.containers) == 0 && r.hub.Connections() == 0
}

func (r *Runner) accept(ctx context.Context, wg *sync.WaitGroup) {
	for {
		conn, err := r.cfg.Listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			r.cfg.Logger.Warn("accept failed", "error", err)
			select { // out of descriptors, most likely: some come back
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return
			}
			continue
		}
		if err := checkPeer(conn); err != nil {
			r.cfg.Logger.Warn("connection refused", "error", err)
			_ = conn.Close()
			continue
		}
		hello := control.Hello{Protocol: control.ProtocolVersion, Version: r.cfg.Version, Namespace: r.cfg.Namespace, PID: os.Getpid(), Confinement: r.confinement}
		wg.Go(func() {
			if err := control.ServeConn(ctx, conn, hello, r.hub, r); err != nil {
				r.cfg.Logger.Debug("connection ended", "error", err)
			}
		})
	}
}

// checkPeer lets in processes of this user and root. The socket's directory keeps out the others already; this holds
// when someone opened its permissions.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("check peer: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return fmt.Errorf("check peer: %w", err)
	}
	if credErr != nil {
		return fmt.Errorf("check peer: %w", credErr)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("check peer: user %d is not this runner's", cred.Uid)
	}
	return nil
}

// stopAll ends every container and lets no new one begin.
func (r *Runner) stopAll(grace time.Duration) {
	r.mu.Lock()
	r.ending = true
	list := make([]*container, 0, len(r.containers))
	for _, c := range r.containers {
		list = append(list, c)
	}
	r.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range list {
		wg.Go(func() { _ = c.stop(context.Background(), grace) })
	}
	wg.Wait()
	for _, c := range list {
		c.release()
	}
}
