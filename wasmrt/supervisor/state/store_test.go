package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	if err := s.CreateSandbox(&Sandbox{ID: "a b"}); err == nil {
		t.Error("CreateSandbox took two words for an id")
	}
}

// journalOf is the journal as it lies on disk.
func journalOf(t *testing.T, s *Store) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.Root(), journalFile))
	must(t, err)
	return string(raw)
}

// again is the store as the next supervisor has it.
func again(t *testing.T, s *Store) *Store {
	t.Helper()
	next := New(s.Root())
	t.Cleanup(func() { must(t, next.journal.close()) })
	return next
}

// spoil writes the journal anew, as a supervisor that was killed or a disk that was full may have left it.
func spoil(t *testing.T, s *Store, change func(string) string) {
	t.Helper()
	path := filepath.Join(s.Root(), journalFile)
	must(t, os.WriteFile(path, []byte(change(journalOf(t, s))), filePerm))
}

func TestTornRecordsAreDroppedAndSaid(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	must(t, s.CreateContainer(container(idA, idB)))
	must(t, s.CreateContainer(container(idA, idC)))
	must(t, s.CreateSandbox(sandbox(idB)))
	must(t, s.SaveRunner(&Runner{Key: "k"}))
	for _, name := range []string{"runners/k/runner.json", "runtime.json"} {
		must(t, os.WriteFile(filepath.Join(s.Root(), name), []byte(`{"id":`), filePerm))
	}
	spoil(t, s, func(all string) string {
		lines := strings.SplitAfter(all, "\n")
		lines[1] = lines[1][:len(lines[1])-9] + "\n"
		lines[3] = strings.Replace(lines[3], `"id"`, `?id"`, 1)
		return strings.Join(lines, "")
	})
	s = again(t, s)
	snap := load(t, s)
	if len(snap.Sandboxes) != 1 || len(snap.Containers) != 1 || len(snap.Runners) != 0 || len(snap.Dropped) != 4 {
		t.Fatalf("loaded %d sandboxes, %d containers, %d runners; dropped %v", len(snap.Sandboxes), len(snap.Containers), len(snap.Runners), snap.Dropped)
	}
	if last := load(t, again(t, s)); len(last.Dropped) != 1 { // runtime.json is replaced by the next save
		t.Errorf("dropped again: %v", last.Dropped)
	}
}

// TestTornUpdateCountsForNothing has the supervisor killed while it added a line, at bytes of each of its parts.
func TestTornUpdateCountsForNothing(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	must(t, s.CreateContainer(container(idA, idB)))
	update := func(s *Store, code int32) {
		t.Helper()
		changed := container(idA, idB)
		changed.Status.ExitCode = code
		must(t, s.UpdateContainer(changed))
	}
	wants := func(s *Store, code int32) {
		t.Helper()
		snap := load(t, s)
		if len(snap.Sandboxes) != 1 || len(snap.Containers) != 1 || snap.Containers[0].Status.ExitCode != code || string(snap.Containers[0].Config) != "{}" {
			t.Errorf("loaded %+v, dropped %v; want exit code %d", snap.Containers, snap.Dropped, code)
		}
	}
	update(s, 1)
	before := journalOf(t, s)
	update(s, 2)
	wants(again(t, s), 2)
	after := journalOf(t, s)
	whole := before + after[strings.LastIndex(strings.TrimSuffix(after, "\n"), "\n")+1:]
	for i, cut := 0, len(before); cut < len(whole); i, cut = i+1, cut+13 {
		spoil(t, s, func(string) string { return whole[:cut] })
		next := again(t, s)
		if i%2 == 0 { // what is torn is followed by more, or found by the next supervisor
			update(next, 3)
			wants(again(t, next), 3)
			continue
		}
		wants(next, 1)
		update(next, 4)
		wants(again(t, next), 4)
	}
}

func TestTornRemovalRemovesNothing(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	must(t, s.CreateContainer(container(idA, idB)))
	before := journalOf(t, s)
	must(t, s.RemoveContainer(idA, idB))
	whole := journalOf(t, s)
	for cut := len(before); cut < len(whole); cut += 5 {
		spoil(t, s, func(string) string { return whole[:cut] })
		if snap := load(t, again(t, s)); len(snap.Sandboxes) != 1 || len(snap.Containers) != 1 {
			t.Fatalf("after %q: %d sandboxes, %d containers", whole[len(before):cut], len(snap.Sandboxes), len(snap.Containers))
		}
	}
}

// TestJournalDoesNotGrow writes and removes far more than is there at a time.
func TestJournalDoesNotGrow(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	must(t, s.CreateContainer(container(idA, idB)))
	changed := container(idA, idB)
	changed.Status.Message = strings.Repeat("m", slack/16)
	for code := range int32(100) {
		changed.Status.ExitCode = code
		must(t, s.UpdateContainer(changed))
		must(t, s.CreateSandbox(sandbox(idC)))
		must(t, s.CreateContainer(container(idC, idC)))
		must(t, s.RemoveSandbox(idC))
		if size := len(journalOf(t, s)); size > 2*slack {
			t.Fatalf("%d bytes after %d updates", size, code+1)
		}
	}
	for _, s := range []*Store{s, again(t, s)} {
		snap := load(t, s)
		if len(snap.Sandboxes) != 1 || len(snap.Containers) != 1 || snap.Containers[0].Status.ExitCode != 99 || string(snap.Containers[0].Config) != "{}" || len(snap.Dropped) > 0 {
			t.Errorf("loaded %+v, dropped %v", snap.Containers, snap.Dropped)
		}
	}
}

// TestLoadLeavesWhatCounts: the next supervisor begins with a journal of what is there.
func TestLoadLeavesWhatCounts(t *testing.T) {
	s := newStore(t)
	for _, id := range []string{idA, idB, idC} {
		must(t, s.CreateSandbox(sandbox(id)))
		must(t, s.CreateContainer(container(id, id)))
	}
	must(t, s.RemoveSandbox(idA))
	must(t, s.RemoveContainer(idB, idB))
	next := again(t, s)
	if snap := load(t, next); len(snap.Sandboxes) != 2 || len(snap.Containers) != 1 {
		t.Fatalf("loaded %+v", snap)
	}
	if lines := strings.Count(journalOf(t, s), "\n"); lines != 3 {
		t.Errorf("%d lines are left of 3 records", lines)
	}
	if _, err := os.Stat(filepath.Join(s.Root(), journalFile+".tmp")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a half of a journal is left: %v", err)
	}
}

// TestFullDiskCostsOneRecord writes to a journal that takes nothing more for a moment.
func TestFullDiskCostsOneRecord(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	j := &s.journal
	good := j.file
	read, write, err := os.Pipe() // writing to one that nobody reads fails
	must(t, err)
	must(t, read.Close())
	j.file = write
	if err := s.CreateContainer(container(idA, idB)); err == nil {
		t.Error("what was not written was no error")
	}
	must(t, write.Close())
	j.file = good
	if err := s.UpdateContainer(container(idA, idB)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("updating what was not written: %v", err)
	}
	must(t, s.CreateContainer(container(idA, idC)))
	if snap := load(t, again(t, s)); len(snap.Containers) != 1 || snap.Containers[0].ID != idC {
		t.Errorf("loaded %+v", snap.Containers)
	}
}

// TestRecordsOfAnEarlierVersionComeBack: its pods go on.
func TestRecordsOfAnEarlierVersionComeBack(t *testing.T) {
	s := newStore(t)
	put := func(name string, lines ...any) {
		t.Helper()
		var raw []byte
		for i, l := range lines {
			if i > 0 {
				raw = append(raw, '\n')
			}
			one, err := json.Marshal(l)
			must(t, err)
			raw = append(raw, one...)
		}
		path := filepath.Join(s.Root(), oldDir, name)
		must(t, os.MkdirAll(filepath.Dir(path), dirPerm))
		must(t, os.WriteFile(path, raw, filePerm))
	}
	changed := container(idA, idB)
	changed.Config, changed.Status.ExitCode = nil, 7
	put(idA+"/sandbox.json", sandbox(idA))
	put(idA+"/container-"+idB+".json", container(idA, idB), changed, "torn")
	put(idA+"/container-"+idC+".json", container(idB, idC)) // of another sandbox
	put(idC+"/container-"+idC+".json", container(idC, idC)) // without its sandbox
	for round := range 2 {
		snap := load(t, again(t, s))
		if len(snap.Sandboxes) != 1 || len(snap.Containers) != 1 || (len(snap.Dropped) == 2) != (round == 0) {
			t.Fatalf("loaded %d sandboxes, %d containers, dropped %v", len(snap.Sandboxes), len(snap.Containers), snap.Dropped)
		}
		if c := snap.Containers[0]; string(c.Config) != "{}" || c.Status.ExitCode != 7 {
			t.Errorf("container %+v", c)
		}
	}
	if _, err := os.Stat(filepath.Join(s.Root(), oldDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old records are left: %v", err)
	}
}

func TestUpdateOfWhatIsNotThere(t *testing.T) {
	s := newStore(t)
	if err := s.UpdateContainer(container(idA, idB)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestContainerOfNoSandbox(t *testing.T) {
	s := newStore(t)
	if err := s.CreateContainer(container(idA, idB)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestRecordOfAnotherIsRefused(t *testing.T) {
	s := newStore(t)
	must(t, s.CreateSandbox(sandbox(idA)))
	spoil(t, s, func(all string) string { return strings.Replace(all, " "+idA, " "+idB, 1) })
	if snap := load(t, again(t, s)); len(snap.Sandboxes) != 0 || len(snap.Dropped) != 1 {
		t.Errorf("loaded %+v", snap)
	}
}

func TestNothingIsWrittenOnceTheRootIsGivenUp(t *testing.T) {
	s := New(t.TempDir())
	release, err := s.Lock()
	must(t, err)
	must(t, s.CreateSandbox(sandbox(idA)))
	release()
	if err := s.UpdateSandbox(sandbox(idA)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("writing after the end: %v", err)
	}
	release, err = s.Lock()
	must(t, err)
	defer release()
	must(t, s.UpdateSandbox(sandbox(idA)))
}

func TestLockIsExclusive(t *testing.T) {
	s := newStore(t)
	if _, err := New(s.Root()).Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("a second Lock: %v, want ErrLocked", err)
	}
}

func TestOversizedRecordIsDropped(t *testing.T) {
	s := newStore(t)
	large := sandbox(idA)
	large.Config = json.RawMessage(`"` + strings.Repeat("x", MaxRecord) + `"`)
	must(t, s.CreateSandbox(large))
	must(t, s.CreateSandbox(sandbox(idB)))
	if snap := load(t, again(t, s)); len(snap.Sandboxes) != 1 || len(snap.Dropped) != 1 {
		t.Errorf("loaded %d", len(snap.Sandboxes))
	}
}

// TestWritersAtOnce: containers of many sandboxes change at the same time.
func TestWritersAtOnce(t *testing.T) {
	s := newStore(t)
	const writers = 16
	var wg sync.WaitGroup
	for n := range writers {
		id := fmt.Sprintf("%0*x", IDLength, n)
		wg.Go(func() {
			err := errors.Join(s.CreateSandbox(sandbox(id)), s.CreateContainer(container(id, id)))
			for code := range int32(20) {
				c := container(id, id)
				c.Status.ExitCode = code
				err = errors.Join(err, s.UpdateContainer(c), s.UpdateSandbox(sandbox(id)))
			}
			if n%2 == 0 {
				err = errors.Join(err, s.RemoveSandbox(id))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range []*Store{s, again(t, s)} {
		snap := load(t, s)
		if len(snap.Sandboxes) != writers/2 || len(snap.Containers) != writers/2 || len(snap.Dropped) > 0 {
			t.Errorf("loaded %d sandboxes, %d containers, dropped %v", len(snap.Sandboxes), len(snap.Containers), snap.Dropped)
		}
		for _, c := range snap.Containers {
			if c.Status.ExitCode != 19 {
				t.Errorf("container %s: exit code %d", c.ID, c.Status.ExitCode)
			}
		}
	}
}

// FuzzJournal: whatever lies there, loading it ends, and what is left afterwards is what was loaded.
func FuzzJournal(f *testing.F) {
	dir := f.TempDir()
	s := New(dir)
	if err := errors.Join(s.CreateSandbox(sandbox(idA)), s.CreateContainer(container(idA, idB)), s.UpdateContainer(container(idA, idB)), s.RemoveContainer(idA, idC), s.CreateSandbox(sandbox(idC)), s.RemoveSandbox(idC)); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, journalFile))
	if err = errors.Join(err, s.journal.close()); err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add(append(raw, raw...))
	f.Add([]byte("sandbox " + idA + " -1 \nsandbox-gone " + idA + " 0 \n container"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, journalFile), raw, filePerm))
		first := New(dir)
		must(t, os.Mkdir(filepath.Join(dir, runnersDir), dirPerm))
		before := load(t, first)
		must(t, first.journal.close())
		second := New(dir)
		after := load(t, second)
		must(t, second.journal.close())
		if len(after.Dropped) > 0 || len(after.Sandboxes) != len(before.Sandboxes) || len(after.Containers) != len(before.Containers) {
			t.Errorf("loaded %d and %d, then %d and %d: %v", len(before.Sandboxes), len(before.Containers), len(after.Sandboxes), len(after.Containers), after.Dropped)
		}
	})
}
