package fleet

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/wasmrt/supervisor/cgroup"
)

func TestDeathsInARow(t *testing.T) {
	timing := Timing{Settled: time.Minute, Backoff: time.Second, MaxBackoff: 5 * time.Second}
	now := time.Unix(1000, 0)
	var d deaths
	for i, want := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
		d.died(now, time.Second, timing)
		err := d.pause(now)
		var backoff *BackoffError
		switch {
		case want == 0 && err != nil:
			t.Errorf("death %d: %v", i+1, err)
		case want > 0 && (!errors.As(err, &backoff) || backoff.Wait != want || backoff.Deaths != i+1):
			t.Errorf("death %d: %v, want to wait %v", i+1, err, want)
		}
		if err := d.pause(now.Add(want)); err != nil {
			t.Errorf("after the wait of death %d: %v", i+1, err)
		}
	}
	d.died(now, 2*time.Minute, timing)
	if err := d.pause(now); err != nil {
		t.Errorf("one that had settled: %v", err)
	}
}

// TestCrashLoop: a namespace whose runner dies again and again waits; another does not.
func TestCrashLoop(t *testing.T) {
	w := newWorld(t, t.TempDir(), "ok", func(c *Config) { c.Timing.Backoff = 3 * time.Second })
	for range 2 {
		r := w.ensure("x")
		w.call(r, "publish and die")
		await(t, "its death", w.deaths)
		<-r.gone
	}
	_, err := w.Ensure(t.Context(), "x")
	var backoff *BackoffError
	if !errors.As(err, &backoff) || backoff.Deaths != 2 {
		t.Fatalf("the third start: %v", err)
	}
	w.ensure("y")
	time.Sleep(backoff.Wait)
	w.ensure("x")
}

func TestUserOfItsOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give another user id")
	}
	const user = 1879048200
	w := newWorld(t, t.TempDir(), "ok", func(c *Config) { c.User = func(string) (uint32, error) { return user, nil } })
	r := w.ensure("x")
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", user), fmt.Sprintf("Gid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", user), "Groups:\t \n",
		fmt.Sprintf("CapPrm:\t%016x\n", 1<<unix.CAP_NET_BIND_SERVICE), fmt.Sprintf("CapEff:\t%016x\n", 1<<unix.CAP_NET_BIND_SERVICE),
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %q in\n%s", want, raw)
		}
	}
	w.Fleet.cfg.User = func(string) (uint32, error) { return 0, errors.New("no id is free") }
	if _, err := w.Ensure(t.Context(), "y"); err == nil || !strings.Contains(err.Error(), "no id is free") {
		t.Errorf("without an id: %v", err)
	}
}

// TestGroups: a runner is in a group of its own from its begin to its end, also when another fleet has taken it over.
func TestGroups(t *testing.T) {
	groups := realGroups(t)
	root := t.TempDir()
	first := newWorld(t, root, "ok", func(c *Config) { c.Groups = func() *cgroup.Manager { return groups } })
	r := first.ensure("needed")
	group := filepath.Join(groups.Dirs()[0], Key("needed"))
	raw, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil || strings.TrimSpace(string(raw)) != fmt.Sprint(r.PID()) {
		t.Fatalf("in the group: %q, %v; want %d", raw, err, r.PID())
	}
	first.Close()
	second := newWorld(t, root, "ok", func(c *Config) { c.Groups = func() *cgroup.Manager { return groups } })
	adopted, err := second.Adopt(t.Context(), r.record)
	if err != nil {
		t.Fatal(err)
	}
	if adopted.MemoryBytes() == 0 {
		t.Error("an adopted runner takes no memory")
	}
	if err := unix.Kill(r.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "its death", second.deaths)
	if _, err := os.Stat(group); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its group is left: %v", err)
	}
	again := second.ensure("needed") // its group is made again
	second.Shutdown(t.Context(), 0)
	gone(t, again)
	if _, err := os.Stat(group); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the group of one that was ended is left: %v", err)
	}
}

func realGroups(t *testing.T) *cgroup.Manager {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("groups are root's to make")
	}
	m, err := cgroup.Open(cgroup.Config{Holder: fmt.Sprintf("petrel-fleet-test-%d", os.Getpid()), Limits: cgroup.Limits{Memory: 1 << 30},
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Dirs()) == 0 {
		t.Skipf("no groups here: %v", m.Report())
	}
	t.Cleanup(func() {
		if err := cgroup.Sweep(m.Dirs(), func(string) bool { return false }); err != nil {
			t.Error(err)
		}
		cgroup.Release(m.Dirs())
	})
	return m
}
