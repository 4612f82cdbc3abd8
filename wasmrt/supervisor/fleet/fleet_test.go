package fleet

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

type world struct {
	*Fleet
	t          *testing.T
	store      *state.Store
	statuses   chan control.Status
	deaths     chan string
	reconnects chan *Runner
}

// hasty makes tests short, but no shorter than a runner on a busy machine may need: who is late is no less healthy.
var hasty = Timing{Linger: time.Second, Ping: 50 * time.Millisecond, Silence: 20 * time.Second, Greet: 20 * time.Second}

// strict takes away the patience with silent runners.
func strict(c *Config) { c.Timing.Silence = 300 * time.Millisecond }

func newWorld(t *testing.T, root, mode string, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, store: state.New(root), statuses: make(chan control.Status, 10), deaths: make(chan string, 10), reconnects: make(chan *Runner, 10)}
	release, err := w.store.Lock()
	if err != nil {
		t.Fatal(err)
	}
	release()
	cfg := Config{
		Store: w.store, Command: fakeCommand(mode), Timing: hasty, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		OnStatus:    func(_ *Runner, s control.Status) { w.statuses <- s },
		OnDeath:     func(_ *Runner, d Death) { w.deaths <- d.How },
		OnReconnect: func(r *Runner) { w.reconnects <- r },
		Needed:      func(namespace string) bool { return namespace == "needed" },
	}
	for _, f := range change {
		f(&cfg)
	}
	if w.Fleet, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Shutdown(context.Background(), 0)
		w.Close()
	})
	return w
}

func (w *world) ensure(namespace string) *Runner {
	w.t.Helper()
	r, err := w.Ensure(w.t.Context(), namespace)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) call(r *Runner, method string) {
	w.t.Helper()
	// Who dies may do so before the answer is out.
	if err := r.Call(w.t.Context(), method, nil, nil); err != nil && !strings.HasSuffix(method, "and die") {
		w.t.Fatalf("%s: %v", method, err)
	}
}

func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("waited for %s", what)
		panic("unreachable")
	}
}

func gone(t *testing.T, r *Runner) {
	t.Helper()
	await(t, "the runner's end", r.gone)
	for range 6000 { // init may have to reap it first
		if errors.Is(unix.Kill(r.PID(), 0), unix.ESRCH) || isZombie(r.PID()) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d still runs", r.PID())
}

func isZombie(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && strings.Contains(string(b), ") Z ")
}

func TestOneRunnerForEachNamespace(t *testing.T) {
	w := newWorld(t, t.TempDir(), "ok")
	a := w.ensure("a")
	if again := w.ensure("a"); again != a || w.Get("a") != a {
		t.Error("a second runner was started for the namespace")
	}
	b := w.ensure("b")
	if a.PID() == b.PID() || len(w.All()) != 2 || w.Get("c") != nil {
		t.Errorf("runners %d, %d of %d", a.PID(), b.PID(), len(w.All()))
	}
	sid, err := unix.Getsid(a.PID())
	if err != nil || sid != a.PID() {
		t.Errorf("session %d, %v: the runner must have one of its own", sid, err)
	}
	w.call(a, "publish")
	if s := await(t, "the event", w.statuses); s.ID != "x" {
		t.Errorf("status %+v", s)
	}
}

func TestDeathIsToldOnceAfterTheLastEvent(t *testing.T) {
	w := newWorld(t, t.TempDir(), "ok")
	r, other := w.ensure("a"), w.ensure("b")
	w.call(r, "publish and die")
	if how := await(t, "the death", w.deaths); !strings.Contains(how, "exit status 3") {
		t.Errorf("how = %q", how)
	}
	select {
	case s := <-w.statuses:
		if s.ID != "last words" {
			t.Errorf("status %+v", s)
		}
	default:
		t.Error("the death was told before the last event")
	}
	if r.Alive() || w.Get("a") != nil || !other.Alive() {
		t.Error("who is alive is wrong")
	}
	if next := w.ensure("a"); next.PID() == r.PID() {
		t.Error("no new runner")
	}
	if len(w.deaths) != 0 {
		t.Error("the death was told again")
	}
}

func TestAdopt(t *testing.T) {
	root := t.TempDir()
	first := newWorld(t, root, "ok")
	pid := first.ensure("a").PID()
	first.Close() // as if the supervisor had died
	if _, err := first.Ensure(t.Context(), "a"); !errors.Is(err, ErrClosed) {
		t.Errorf("Ensure of a closed fleet: %v", err)
	}
	second := newWorld(t, root, "ok")
	records, err := second.store.Runners()
	if err != nil || len(records) != 1 {
		t.Fatalf("records %v, %v", records, err)
	}
	r, err := second.Adopt(t.Context(), records[0])
	if err != nil || r.PID() != pid || second.ensure("a") != r {
		t.Fatalf("adopted %v, %v", r, err)
	}
	w := second
	w.call(r, "publish and die")
	await(t, "the death of an adopted runner", w.deaths)
	if _, err := second.Adopt(t.Context(), records[0]); err == nil {
		t.Error("a dead runner was adopted")
	}
	if left, err := second.store.Runners(); err != nil || len(left) != 0 {
		t.Errorf("records %v are left, %v", left, err)
	}
}

func TestAdoptLeavesStrangersAlone(t *testing.T) {
	w := newWorld(t, t.TempDir(), "ok")
	dir := w.store.RunnerDir("k")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// The number of a runner that died was given to this very process.
	record := &state.Runner{Key: "k", Namespace: "a", PID: os.Getpid(), Socket: filepath.Join(dir, "s")}
	if _, err := w.Adopt(t.Context(), record); err == nil {
		t.Error("adopted a stranger")
	}
	if err := Stop(t.Context(), record, 0); err != nil {
		t.Error(err)
	}
	// Another runner answers at the socket.
	other := w.ensure("a")
	record.Socket = other.record.Socket
	if _, err := w.Adopt(t.Context(), record); err == nil {
		t.Error("adopted a runner under another's number")
	}
	if !other.Alive() {
		t.Error("the runner that answered was ended")
	}
}

func TestAdoptEndsWhatCannotBeTalkedTo(t *testing.T) {
	for _, mode := range []string{"ok", "foreign"} {
		t.Run(mode, func(t *testing.T) {
			root := t.TempDir()
			first := newWorld(t, root, mode)
			r := first.ensure("a")
			if mode == "ok" {
				w := first
				w.call(r, "mute") // whoever connects is not greeted
			}
			first.Close()
			second := newWorld(t, root, mode)
			second.cfg.Timing.Greet = 300 * time.Millisecond
			if _, err := second.Adopt(t.Context(), r.record); err == nil {
				t.Error("adopted")
			}
			gone(t, r)
		})
	}
}

func TestSilentRunnerIsKilled(t *testing.T) {
	w := newWorld(t, t.TempDir(), "ok", strict)
	r := w.ensure("a")
	w.call(r, "fall silent")
	if how := await(t, "the death", w.deaths); !strings.Contains(how, "killed") {
		t.Errorf("how = %q", how)
	}
	gone(t, r)
}

func TestLostConnectionIsMadeAgain(t *testing.T) {
	w := newWorld(t, t.TempDir(), "ok")
	r := w.ensure("a")
	w.call(r, "hang up")
	if got := await(t, "the connection", w.reconnects); got != r {
		t.Error("another runner")
	}
	w.call(r, control.MethodPing)
	w.call(r, "publish")
	await(t, "an event on the new connection", w.statuses)
	if len(w.deaths) != 0 {
		t.Error("a death was told")
	}
}

func TestUnreachableRunnerIsKilled(t *testing.T) {
	w := newWorld(t, t.TempDir(), "ok")
	w.cfg.Timing.Greet = 300 * time.Millisecond
	r := w.ensure("a")
	w.call(r, "mute")
	w.call(r, "hang up")
	await(t, "the death", w.deaths)
	gone(t, r)
}

func TestReleaseEndsTheRunnerAfterAWhile(t *testing.T) {
	w := newWorld(t, t.TempDir(), "ok")
	kept, ended, needed := w.ensure("kept"), w.ensure("ended"), w.ensure("needed")
	w.Release("kept")
	w.Release("needed")
	w.Release("ended")
	w.Release("nobody")
	if w.ensure("kept") != kept {
		t.Error("a new runner was started during the linger")
	}
	gone(t, ended) // it was released last: the others' time is over
	if !kept.Alive() || !needed.Alive() {
		t.Error("a runner that is needed again was ended")
	}
	if len(w.deaths) != 0 {
		t.Error("an end that was asked for was told as a death")
	}
	for range 12_000 {
		if records, err := w.store.Runners(); err == nil && len(records) == 2 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("the ended runner's record is left")
}

func TestCloseLeavesRunnersRunning(t *testing.T) {
	root := t.TempDir()
	w := newWorld(t, root, "ok")
	r := w.ensure("a")
	w.call(r, "publish at the end") // somebody else may listen then
	w.Close()
	if err := unix.Kill(r.PID(), 0); err != nil {
		t.Errorf("the runner ended: %v", err)
	}
	if err := Stop(t.Context(), r.record, 0); err != nil {
		t.Error(err)
	}
	gone(t, r)
}

func TestRunnerThatCannotStartSaysWhy(t *testing.T) {
	w := newWorld(t, t.TempDir(), "broken")
	_, err := w.Ensure(t.Context(), "a")
	if err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Fatalf("Ensure: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(w.store.RunnerDir(Key("a")), logFile))
	if err != nil || !strings.Contains(string(log), "cannot start") {
		t.Errorf("log %q, %v", log, err)
	}
}

func TestLongRoots(t *testing.T) {
	root := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	if err := os.MkdirAll(root, 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, root, "ok")
	r := w.ensure("a")
	w.call(r, control.MethodPing)
	w.Close()
	second := newWorld(t, root, "ok")
	if _, err := second.Adopt(t.Context(), r.record); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(r.record.Socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info, err)
	}
}

func TestValidate(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty config was taken")
	}
}
