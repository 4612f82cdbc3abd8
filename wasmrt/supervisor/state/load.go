package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Snapshot is everything that Load found.
type Snapshot struct {
	Sandboxes  []*Sandbox
	Containers []*Container
	Runners    []*Runner
	Runtime    Runtime
	// Dropped says of each record that could not be read why, and that it is gone.
	Dropped []error
}

// Load reads all records. What cannot be understood is removed: nothing can be done with it, and the pod it told of is
// made anew by whoever wants it.
func (s *Store) Load() (*Snapshot, error) {
	snap := &Snapshot{}
	if err := s.moveOld(snap); err != nil {
		return nil, err
	}
	if err := s.loadJournal(snap); err != nil {
		return nil, err
	}
	if err := s.loadRunners(snap); err != nil {
		return nil, err
	}
	raw, err := readFile(filepath.Join(s.root, runtimeFile))
	if err == nil {
		err = json.Unmarshal(raw, &snap.Runtime)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		snap.Runtime = Runtime{}
		snap.Dropped = append(snap.Dropped, fmt.Errorf("load %s: %w", runtimeFile, err))
	}
	return snap, nil
}

// loadJournal reads sandboxes and containers, and leaves a journal of nothing else.
func (s *Store) loadJournal(snap *Snapshot) error {
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.open(); err != nil {
		return err
	}
	if j.bad > 0 {
		snap.Dropped = append(snap.Dropped, fmt.Errorf("load journal: %d lines are not whole", j.bad))
	}
	for id, lines := range j.sandboxes {
		s.loadSandbox(snap, id, lines)
	}
	if j.size == j.live {
		return nil
	}
	if err := j.renew(); err != nil { // a full disk, for one: what is there is good
		snap.Dropped = append(snap.Dropped, err)
	}
	return nil
}

func (s *Store) loadSandbox(snap *Snapshot, id string, l *sandboxLines) {
	j := &s.journal
	first, last, err := j.read(&l.lines)
	var sandbox *Sandbox
	if err == nil {
		sandbox, err = decodeSandbox(first, last, id)
	}
	if err != nil {
		snap.Dropped = append(snap.Dropped, fmt.Errorf("load sandbox %s: %w", id, err))
		j.note(key{kind: sandboxGone, sandbox: id}, span{})
		return
	}
	snap.Sandboxes = append(snap.Sandboxes, sandbox)
	for _, c := range slices.Clone(l.containers) {
		first, last, err := j.read(&c.lines)
		var container *Container
		if err == nil {
			container, err = decodeContainer(first, last, id, c.id)
		}
		if err != nil {
			snap.Dropped = append(snap.Dropped, fmt.Errorf("load container %s: %w", c.id, err))
			j.note(key{kind: containerGone, sandbox: id, container: c.id}, span{})
			continue
		}
		snap.Containers = append(snap.Containers, container)
	}
}

func (s *Store) loadRunners(snap *Snapshot) error {
	dirs, err := os.ReadDir(filepath.Join(s.root, runnersDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list runners: %w", err)
	}
	for _, dir := range dirs {
		raw, err := readFile(filepath.Join(s.root, runnersDir, dir.Name(), runnerFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the log of one that is gone
		}
		var r Runner
		if err == nil {
			err = json.Unmarshal(raw, &r)
		}
		if err == nil && r.Key != dir.Name() {
			err = errors.New("the record is not of this directory")
		}
		if err != nil {
			snap.Dropped = append(snap.Dropped, errors.Join(fmt.Errorf("load runner %s: %w", dir.Name(), err), s.RemoveRunner(dir.Name())))
			continue
		}
		snap.Runners = append(snap.Runners, &r)
	}
	return nil
}

// Runners reads the runners' records alone, for `petrel-wasmrt stop`. A root that was never served has none.
func (s *Store) Runners() ([]*Runner, error) {
	snap := &Snapshot{}
	err := s.loadRunners(snap)
	return snap.Runners, err
}
