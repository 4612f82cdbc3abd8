package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	dirs, err := os.ReadDir(filepath.Join(s.root, sandboxesDir))
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	for _, dir := range dirs {
		s.loadSandbox(snap, dir.Name())
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

func (s *Store) loadSandbox(snap *Snapshot, id string) {
	dir := filepath.Join(s.root, sandboxesDir, id)
	raw, err := readFile(filepath.Join(dir, sandboxFile))
	var sandbox *Sandbox
	if err == nil {
		sandbox, err = decodeSandbox(raw, id)
	}
	if err != nil {
		snap.Dropped = append(snap.Dropped, errors.Join(fmt.Errorf("load sandbox %s: %w", id, err), os.RemoveAll(dir)))
		return
	}
	snap.Sandboxes = append(snap.Sandboxes, sandbox)
	files, err := os.ReadDir(dir)
	if err != nil {
		snap.Dropped = append(snap.Dropped, fmt.Errorf("list containers of sandbox %s: %w", id, err))
		return
	}
	for _, file := range files {
		if cid, ok := containerID(file.Name()); ok {
			s.loadContainer(snap, filepath.Join(dir, file.Name()), id, cid)
		}
	}
}

func (s *Store) loadContainer(snap *Snapshot, path, sandboxID, id string) {
	raw, err := readFile(path)
	var c *Container
	if err == nil {
		c, err = decodeContainer(raw, sandboxID, id)
	}
	if err != nil {
		snap.Dropped = append(snap.Dropped, errors.Join(fmt.Errorf("load container %s: %w", id, err), os.Remove(path)))
		return
	}
	snap.Containers = append(snap.Containers, c)
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
