package state

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

var (
	idA = strings.Repeat("a", IDLength)
	idB = strings.Repeat("b", IDLength)
	idC = strings.Repeat("c", IDLength)
)

func newStore(t *testing.T) *Store {
	t.Helper()
	s := New(filepath.Join(t.TempDir(), "root"))
	release, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return s
}

func sandbox(id string) *Sandbox {
	return &Sandbox{ID: id, Config: json.RawMessage(`{"hostname":"h"}`), Namespace: "default", Address: "127.42.0.2", Ready: true, CreatedAt: 7}
}

func container(sandboxID, id string) *Container {
	return &Container{ID: id, SandboxID: sandboxID, Config: json.RawMessage(`{}`), ImageID: "sha256:1", Module: "sha256:2",
		Status: control.Status{ID: id, State: control.StateRunning, StartedAt: 9}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, s *Store) *Snapshot {
	t.Helper()
	snap, err := s.Load()
	must(t, err)
	return snap
}

func TestRecordsComeBack(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	must(t, s.CreateContainer(container(idA, idB)))
	must(t, s.SaveRunner(&Runner{Key: "k", Namespace: "default", PID: 42, Socket: "/s"}))
	must(t, s.SaveRuntime(&Runtime{PodCIDR: "127.42.0.0/16"}))
	changed := container(idA, idB)
	changed.Status.State, changed.Status.ExitCode = control.StateExited, 3
	must(t, s.UpdateContainer(changed))
	retired := sandbox(idA)
	retired.Ready, retired.Address = false, ""
	must(t, s.UpdateSandbox(retired))

	snap := load(t, s)
	if len(snap.Sandboxes) != 1 || len(snap.Containers) != 1 || len(snap.Runners) != 1 || len(snap.Dropped) != 0 {
		t.Fatalf("loaded %+v", snap)
	}
	if got := snap.Sandboxes[0]; got.Address != "" || got.Ready || string(got.Config) != `{"hostname":"h"}` {
		t.Errorf("sandbox %+v", got)
	}
	if got := snap.Containers[0].Status; got.State != control.StateExited || got.ExitCode != 3 {
		t.Errorf("container's status %+v: the last save must win", got)
	}
	if snap.Runners[0].PID != 42 || snap.Runtime.PodCIDR != "127.42.0.0/16" {
		t.Errorf("runner %+v, runtime %+v", snap.Runners[0], snap.Runtime)
	}
}

func TestRemove(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	must(t, s.CreateContainer(container(idA, idB)))
	must(t, s.CreateContainer(container(idA, idC)))
	for range 2 { // both are idempotent
		must(t, s.RemoveContainer(idA, idB))
	}
	if snap := load(t, s); len(snap.Containers) != 1 || snap.Containers[0].ID != idC {
		t.Errorf("containers %+v", snap.Containers)
	}
	for range 2 {
		must(t, s.RemoveSandbox(idA))
	}
	if snap := load(t, s); len(snap.Sandboxes)+len(snap.Containers) != 0 {
		t.Errorf("left %+v", snap)
	}
	if err := s.RemoveSandbox("../.."); err == nil {
		t.Error("RemoveSandbox took a path for an id")
	}
}

func TestTornRecordsAreDroppedAndSaid(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	must(t, s.CreateContainer(container(idA, idB)))
	must(t, s.CreateContainer(container(idA, idC)))
	must(t, s.CreateSandbox(sandbox(idB)))
	must(t, s.SaveRunner(&Runner{Key: "k"}))
	for _, name := range []string{"sandboxes/" + idA + "/container-" + idB + ".json", "sandboxes/" + idB + "/sandbox.json", "runners/k/runner.json", "runtime.json"} {
		must(t, os.WriteFile(filepath.Join(s.Root(), name), []byte(`{"id":`), filePerm))
	}
	snap := load(t, s)
	if len(snap.Sandboxes) != 1 || len(snap.Containers) != 1 || len(snap.Runners) != 0 || len(snap.Dropped) != 4 {
		t.Fatalf("loaded %d sandboxes, %d containers, %d runners; dropped %v", len(snap.Sandboxes), len(snap.Containers), len(snap.Runners), snap.Dropped)
	}
	if again := load(t, s); len(again.Dropped) != 1 { // runtime.json is replaced by the next save
		t.Errorf("dropped again: %v", again.Dropped)
	}
}

// TestTornUpdateCountsForNothing has the supervisor killed while it added a line.
func TestTornUpdateCountsForNothing(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	must(t, s.CreateContainer(container(idA, idB)))
	path := filepath.Join(s.Root(), "sandboxes", idA, "container-"+idB+".json")
	update := func(code int32) {
		t.Helper()
		changed := container(idA, idB)
		changed.Status.ExitCode = code
		must(t, s.UpdateContainer(changed))
	}
	wants := func(code int32) {
		t.Helper()
		snap := load(t, s)
		if len(snap.Containers) != 1 || len(snap.Dropped) != 0 || snap.Containers[0].Status.ExitCode != code || string(snap.Containers[0].Config) != "{}" {
			t.Errorf("loaded %+v, dropped %v; want exit code %d", snap.Containers, snap.Dropped, code)
		}
	}
	whole := func() []byte {
		raw, err := os.ReadFile(path)
		must(t, err)
		return raw
	}
	tear := func() { must(t, os.Truncate(path, int64(len(whole())-9))) }
	update(1)
	tear()
	wants(0)
	update(2)
	wants(2)
	update(3)
	tear()
	update(4)
	tear()
	wants(2)
}

func TestManyUpdatesDoNotGrowTheFile(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	must(t, s.CreateContainer(container(idA, idB)))
	changed := container(idA, idB)
	changed.Status.Message = strings.Repeat("m", maxUpdates/8)
	for code := range int32(20) {
		changed.Status.ExitCode = code
		must(t, s.UpdateContainer(changed))
		info, err := os.Stat(filepath.Join(s.Root(), "sandboxes", idA, "container-"+idB+".json"))
		must(t, err)
		if info.Size() > 2*maxUpdates {
			t.Fatalf("%d bytes after %d updates", info.Size(), code+1)
		}
	}
	if snap := load(t, s); len(snap.Containers) != 1 || snap.Containers[0].Status.ExitCode != 19 || string(snap.Containers[0].Config) != "{}" {
		t.Errorf("loaded %+v", snap.Containers)
	}
}

func TestUpdateOfWhatIsNotThere(t *testing.T) {
	s := newStore(t)
	if err := s.UpdateContainer(container(idA, idB)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestRecordOfAnotherFileIsRefused(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	must(t, os.Rename(filepath.Join(s.Root(), "sandboxes", idA), filepath.Join(s.Root(), "sandboxes", idB)))
	if snap := load(t, s); len(snap.Sandboxes) != 0 || len(snap.Dropped) != 1 {
		t.Errorf("loaded %+v", snap)
	}
}

func TestLockIsExclusive(t *testing.T) {
	s := newStore(t)
	if _, err := New(s.Root()).Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("a second Lock: %v, want ErrLocked", err)
	}
}

func TestOversizedRecordIsDropped(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	must(t, os.Truncate(filepath.Join(s.Root(), "sandboxes", idA, "sandbox.json"), MaxRecord+1))
	if snap := load(t, s); len(snap.Sandboxes) != 0 || len(snap.Dropped) != 1 {
		t.Errorf("loaded %d", len(snap.Sandboxes))
	}
}

func FuzzDecode(f *testing.F) {
	for _, record := range []any{sandbox(idA), container(idA, idB)} {
		raw, err := json.Marshal(record)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(append(append(raw, '\n'), raw...))
		f.Add(append(raw, "\n{\"id\":\n{}"...))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := decodeSandbox(raw, idA); err == nil && s.ID != idA {
			t.Fatal("accepted a foreign sandbox")
		}
		if c, err := decodeContainer(raw, idA, idB); err == nil && (c.ID != idB || c.Status.State.Rank() == 0) {
			t.Fatal("accepted a foreign container")
		}
	})
}
