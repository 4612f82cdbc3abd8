package cgrouplock

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestSweep has plain directories stand for groups: what is held stays until it is let go of.
func TestSweep(t *testing.T) {
	parent := t.TempDir()
	held, err := Hold(filepath.Join(parent, "mine-a"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Hold(filepath.Join(parent, "mine-a"))
	if err != nil {
		t.Fatal(err)
	}
	letGo(t, filepath.Join(parent, "mine-b"))
	letGo(t, filepath.Join(parent, "other"))
	for _, dir := range []string{"mine-a/deep", "mine-b/deep/er", "mine-never-held"} {
		if err := os.MkdirAll(filepath.Join(parent, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(parent, "mine-file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sweeps := func(want ...string) {
		t.Helper()
		removed, err := Sweep(parent, "mine-")
		for i, dir := range removed {
			removed[i] = filepath.Base(dir)
		}
		if err != nil || !slices.Equal(removed, want) {
			t.Errorf("removed %q, want %q: %v", removed, want, err)
		}
	}
	sweeps("mine-b")
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	sweeps() // the other one has it
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	sweeps("mine-a")
	for _, name := range []string{"other", "mine-file", "mine-never-held"} {
		if _, err := os.Stat(filepath.Join(parent, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := Sweep(filepath.Join(parent, "none"), "mine-"); err == nil {
		t.Error("groups are looked for where there is no directory, and nobody is told")
	}
}

// letGo makes a group as one who has died has left it.
func letGo(t *testing.T, dir string) {
	t.Helper()
	f, err := Hold(dir)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestHoldAgainstSweep has many hold a group while it is swept: whoever holds it has the one that is there.
func TestHoldAgainstSweep(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "mine-a")
	done := make(chan struct{})
	var sweeping, holding sync.WaitGroup
	sweeping.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := Sweep(parent, "mine-"); err != nil {
				t.Error(err)
			}
		}
	})
	for range 4 {
		holding.Go(func() {
			for range 200 {
				f, err := Hold(dir)
				if err != nil {
					continue // it was removed each time: said, and nothing is held
				}
				if !same(f, dir) {
					t.Error("what is held was removed")
				}
				_ = f.Close()
			}
		})
	}
	holding.Wait()
	close(done)
	sweeping.Wait()
}

// TestSweepLeavesProcessesAlone is about real groups: one with a process stays, as long as it has one.
func TestSweepLeavesProcessesAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("groups are root's to make")
	}
	parent := ownGroup(t)
	prefix := fmt.Sprintf("petrel-test-%d-", os.Getpid())
	deep := filepath.Join(parent, prefix+"a", "deep")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Skipf("groups cannot be made here: %v", err)
	}
	t.Cleanup(func() { _ = removeTree(filepath.Dir(deep)) })
	held, err := Hold(filepath.Dir(deep))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.Cleanup(end)
	if err := os.WriteFile(filepath.Join(deep, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		t.Skipf("processes cannot be moved into groups here: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if removed, err := Sweep(parent, prefix); err != nil || len(removed) > 0 {
		t.Errorf("removed %q: %v", removed, err)
	}
	if held, err = Hold(filepath.Dir(deep)); err != nil {
		t.Fatal(err)
	}
	end()
	if removed, err := Sweep(parent, prefix); err != nil || len(removed) > 0 {
		t.Errorf("removed %q though it is held: %v", removed, err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	letGo(t, filepath.Dir(deep))
	if removed, err := Sweep(parent, prefix); err != nil || !slices.Equal(removed, []string{filepath.Dir(deep)}) {
		t.Errorf("removed %q: %v", removed, err)
	}
}

// ownGroup is the directory of this process's group in the v2 hierarchy.
func ownGroup(t *testing.T) string {
	t.Helper()
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(groups)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			dir := filepath.Join(mount, path)
			if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); ok && err == nil {
				return dir
			}
		}
	}
	t.Skip("there is no v2 hierarchy")
	return ""
}
