package fleet

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

func (w *world) runnersOnDisk() map[string]string {
	w.t.Helper()
	records, err := w.store.Runners()
	if err != nil {
		w.t.Fatal(err)
	}
	stages := map[string]string{}
	for _, r := range records {
		stages[r.Key] = r.Stage
	}
	return stages
}

func (w *world) awaitOnDisk(keys ...string) {
	w.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		on := w.runnersOnDisk()
		all := len(on) == len(keys)
		for _, k := range keys {
			stage, ok := on[k]
			all = all && ok && stage == ""
		}
		if all {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("records %v, want %v", on, keys)
		}
	}
}

func TestRenew(t *testing.T) {
	w := newWorld(t, t.TempDir(), "ok")
	if err := w.Renew(t.Context(), "needed", 0, nil); err != nil {
		t.Errorf("a namespace without a runner: %v", err)
	}
	first := w.ensure("needed")
	refused := errors.New("it cannot be moved")
	var tried *Runner
	err := w.Renew(t.Context(), "needed", 0, func(_ context.Context, from, to *Runner) error {
		if tried = to; from != first || to.PID() == from.PID() || to.Key() == from.Key() || w.runnersOnDisk()[to.Key()] != state.StageNext {
			t.Errorf("%d in place of %d, records %v", to.PID(), from.PID(), w.runnersOnDisk())
		}
		return refused
	})
	if !errors.Is(err, refused) || w.Get("needed") != first || !first.Alive() {
		t.Errorf("got %v", err)
	}
	if running(tried.PID()) {
		t.Error("what did not take over runs on")
	}
	w.awaitOnDisk(first.Key())

	last := first
	for range 3 { // keys are used in turn
		err := ErrBusy
		for errors.Is(err, ErrBusy) { // until what is left of the one before has gone
			err = w.Renew(t.Context(), "needed", time.Second, func(context.Context, *Runner, *Runner) error { return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
		now := w.Get("needed")
		if now == nil || now == last || w.ensure("needed") != now {
			t.Fatal("it was not replaced")
		}
		gone(t, last)
		w.awaitOnDisk(now.Key())
		last = now
	}
	if err := last.Call(t.Context(), "ping", nil, nil); err != nil {
		t.Error(err)
	}
	select {
	case how := <-w.deaths:
		t.Errorf("a death was told: %s", how)
	default:
	}
	w.call(last, "publish and die") // the new one is looked after
	await(t, "its death", w.deaths)
}

func running(pid int) bool { return !isZombie(pid) && processExists(pid) }

// TestRenewalsAreFoundAgain: whoever comes after a supervisor that died in the middle of it has one runner a namespace.
func TestRenewalsAreFoundAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		stages [2]string // of the former and the latter runner
		former bool      // it is the one that is left
	}{
		"before the move":       {[2]string{"", state.StageNext}, true},
		"between two records":   {[2]string{"", ""}, false},
		"while the former ends": {[2]string{state.StagePast, ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			w := newWorld(t, root, "ok")
			former := w.ensure("needed")
			latter, err := w.start(t.Context(), "needed", former.Key()+second, "")
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range []*Runner{former, latter} {
				r.record.Stage = tt.stages[i]
				if err := w.store.SaveRunner(r.record); err != nil {
					t.Fatal(err)
				}
			}
			w.Close()
			_ = latter.client.Close()

			next := newWorld(t, root, "ok")
			records, err := next.store.Runners()
			if err != nil {
				t.Fatal(err)
			}
			current, others := Current(records)
			if len(current) != 1 || len(others) != 1 {
				t.Fatalf("%d are current, %d are not", len(current), len(others))
			}
			if err := next.Finish(t.Context(), others[0], time.Second); err != nil {
				t.Fatal(err)
			}
			r, err := next.Adopt(t.Context(), current[0])
			if err != nil {
				t.Fatal(err)
			}
			want := latter
			if tt.former {
				want = former
			}
			if r.PID() != want.PID() {
				t.Errorf("the other one is left")
			}
			next.awaitOnDisk(want.Key())
			if err := r.Call(t.Context(), "ping", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func processExists(pid int) bool {
	p, err := find(pid)
	if err != nil {
		return false
	}
	p.close()
	return true
}
