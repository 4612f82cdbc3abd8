package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// What earlier versions had in place of the journal: a directory for each sandbox, with a file for its record and one for
// each container's, to which a line was added for each change.
const (
	oldDir             = "sandboxes"
	oldSandbox         = "sandbox.json"
	oldContainerPrefix = "container-"
	oldSuffix          = ".json"
)

// moveOld takes over what an earlier version left: its pods go on.
func (s *Store) moveOld(snap *Snapshot) error {
	all := filepath.Join(s.root, oldDir)
	dirs, err := os.ReadDir(all)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list sandboxes of an earlier version: %w", err)
	}
	for _, dir := range dirs {
		if err := s.moveOldSandbox(snap, filepath.Join(all, dir.Name()), dir.Name()); err != nil {
			return fmt.Errorf("take over sandbox of an earlier version: %w", err)
		}
	}
	return os.RemoveAll(all)
}

// moveOldSandbox fails when the journal does; a record that cannot be read is dropped.
func (s *Store) moveOldSandbox(snap *Snapshot, dir, id string) error {
	first, last, err := readOld(filepath.Join(dir, oldSandbox))
	var sandbox *Sandbox
	if err == nil {
		sandbox, err = decodeSandbox(first, last, id)
	}
	if err != nil {
		snap.Dropped = append(snap.Dropped, fmt.Errorf("load sandbox %s: %w", id, err))
		return nil
	}
	if err := s.CreateSandbox(sandbox); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		cid, ok := strings.CutPrefix(strings.TrimSuffix(file.Name(), oldSuffix), oldContainerPrefix)
		if !ok || !ValidID(cid) {
			continue
		}
		first, last, err := readOld(filepath.Join(dir, file.Name()))
		var c *Container
		if err == nil {
			c, err = decodeContainer(first, last, id, cid)
		}
		if err != nil {
			snap.Dropped = append(snap.Dropped, fmt.Errorf("load container %s: %w", cid, err))
			continue
		}
		if err := s.CreateContainer(c); err != nil {
			return err
		}
	}
	return nil
}

// readOld answers a file's first line and the last of the others that is whole.
func readOld(path string) (first, last []byte, err error) {
	raw, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	first, rest, _ := bytes.Cut(raw, []byte{'\n'})
	for len(rest) > 0 {
		at := bytes.LastIndexByte(rest, '\n')
		if line := rest[at+1:]; bytes.HasPrefix(line, []byte{'{'}) && json.Valid(line) {
			return first, line, nil
		}
		rest = rest[:max(at, 0)] // it was torn
	}
	return first, nil, nil
}
