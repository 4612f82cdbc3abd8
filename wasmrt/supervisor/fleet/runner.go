package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/cgroup"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// Runner is a namespace's runner process.
type Runner struct {
	record    *state.Runner
	process   *process
	group     *cgroup.Group // nil when nothing bounds it
	gone      chan struct{} // closed when it has died or was let go
	oomBefore uint64        // deaths for want of memory in the group before this runner was ours

	mu     sync.Mutex
	client *control.Client
	ending bool // it was asked to end: its death is no news
}

// Namespace is whose containers it runs.
func (r *Runner) Namespace() string { return r.record.Namespace }

// PID is its process's.
func (r *Runner) PID() int { return r.record.PID }

// User is the user id that the runner was given; 0 is the supervisor's own.
func (r *Runner) User() uint32 { return r.record.User }

// Confinement is what the runner said of itself when it greeted.
func (r *Runner) Confinement() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.client.Hello().Confinement
}

// MemoryBytes is what the runner's group has charged to it; 0 when it has none.
func (r *Runner) MemoryBytes() uint64 {
	if r.group == nil {
		return 0
	}
	return r.group.MemoryBytes()
}

// Call asks the runner. An error of the connection is control.ErrClosed.
func (r *Runner) Call(ctx context.Context, method string, params, result any) error {
	r.mu.Lock()
	client := r.client
	r.mu.Unlock()
	return client.Call(ctx, method, params, result)
}

// Alive says whether its process is believed to run. Once false it stays so.
func (r *Runner) Alive() bool {
	select {
	case <-r.gone:
		return false
	default:
		return true
	}
}

// fits says whether what greeted is the runner of the record and understands us.
func (r *Runner) fits() error {
	hello := r.client.Hello()
	if hello.PID != r.record.PID || hello.Namespace != r.record.Namespace {
		return fmt.Errorf("process %d of namespace %s greets instead of %d", hello.PID, hello.Namespace, r.record.PID)
	}
	if hello.Protocol != control.ProtocolVersion {
		return fmt.Errorf("it speaks protocol %d and this supervisor %d", hello.Protocol, control.ProtocolVersion)
	}
	return nil
}

// connect dials the runner's socket and waits for its greeting.
func (f *Fleet) connect(ctx context.Context, r *Runner) error {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timing.Greet)
	defer cancel()
	conn, err := dial(ctx, r.record.Socket)
	if err != nil {
		return err
	}
	client, err := control.NewClient(ctx, conn, func(event string, params json.RawMessage) { f.event(r, event, params) })
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.client = client
	r.mu.Unlock()
	return nil
}

func (f *Fleet) event(r *Runner, event string, params json.RawMessage) {
	var s control.Status
	err := json.Unmarshal(params, &s)
	if err == nil && event != control.EventStatus {
		err = fmt.Errorf("unknown event %q", event)
	}
	if err != nil {
		f.cfg.Logger.Warn("event not understood", "namespace", r.Namespace(), "error", err)
		return
	}
	f.cfg.OnStatus(r, s)
}

// watch puts the runner into its slot and looks after it until it is gone or the fleet is closed.
func (f *Fleet) watch(s *slot, r *Runner) error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		_ = r.client.Close()
		r.process.close()
		return ErrClosed
	}
	f.wg.Add(1)
	f.mu.Unlock()
	s.runner = r
	go func() {
		defer f.wg.Done()
		died := f.lookAfter(r)
		_ = r.client.Close()
		var death *Death
		if died {
			death = f.bury(s, r)
		}
		r.process.close()
		close(r.gone) // only now may another of the namespace start: it gets a group of the same name
		if death != nil {
			f.cfg.OnDeath(r, *death)
		}
	}()
	return nil
}

// lookAfter returns true when the process has ended, false when the fleet lets it go.
func (f *Fleet) lookAfter(r *Runner) bool {
	ping := time.NewTicker(f.cfg.Timing.Ping)
	defer ping.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return false
		case <-r.client.Done():
			if f.hasEnded(r) {
				return true
			}
		case <-ping.C:
			f.ping(r)
		}
	}
}

// hasEnded is asked when the connection has: mostly because the process has, too. One that lives is connected to
// again, and killed when it does not let us.
func (f *Fleet) hasEnded(r *Runner) bool {
	const settle = time.Second // the kernel closes a process's sockets before it can be reaped
	if r.process.wait(f.ctx, settle) {
		return true
	}
	if f.ctx.Err() != nil {
		return false
	}
	err := f.connect(f.ctx, r)
	if err == nil {
		f.cfg.Logger.Warn("connection to runner was lost and made again", "namespace", r.Namespace())
		f.cfg.OnReconnect(r)
		return false
	}
	if f.ctx.Err() != nil {
		return false
	}
	f.cfg.Logger.Error("runner is out of reach: killing it", "namespace", r.Namespace(), "pid", r.PID(), "error", err)
	return f.end(r)
}

func (f *Fleet) end(r *Runner) bool {
	r.process.kill()
	return r.process.wait(f.ctx, f.cfg.Timing.Silence)
}

// ping kills a runner that does not answer: it hangs, and no pod of it could be stopped.
func (f *Fleet) ping(r *Runner) {
	ctx, cancel := context.WithTimeout(f.ctx, f.cfg.Timing.Silence)
	defer cancel()
	err := r.Call(ctx, control.MethodPing, nil, nil)
	if errors.Is(err, context.DeadlineExceeded) {
		f.cfg.Logger.Error("runner does not answer: killing it", "namespace", r.Namespace(), "pid", r.PID(), "silence", f.cfg.Timing.Silence)
		r.process.kill() // the end of its connection follows
	}
}
