package csi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Names below a pod's volume: what was published, and where.
const (
	recordName = "csi.json"
	targetName = "mount"
)

// record is what has to be known to take a volume back.
type record struct {
	Driver string `json:"driver"`
	Handle string `json:"handle"`
	// Stage is where the volume is staged; empty for a driver that does not.
	Stage string `json:"stage,omitempty"`
	// Attached says that the volume was attached to the node before, and has to stay so.
	Attached bool `json:"attached,omitempty"`
}

func (r *record) key() string { return r.Driver + "\x00" + r.Handle }

// stage is where a volume is staged: handles are the drivers' own and may be of any form.
func (d *Drivers) stage(driver, handle string) string {
	return filepath.Join(d.cfg.StageDir, driver, hash(handle), "globalmount")
}

func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p)) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (r *record) write(dir string) error {
	content, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	path := filepath.Join(dir, recordName)
	if err := os.WriteFile(path+".partial", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".partial", path)
}

// readRecord is nil for a volume that nothing was published for.
func readRecord(dir string) (*record, error) {
	content, err := os.ReadFile(filepath.Join(dir, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(content, r); err != nil || r.Driver == "" || r.Handle == "" {
		return nil, fmt.Errorf("read %s: it is no record of a volume", filepath.Join(dir, recordName))
	}
	return r, nil
}

// users counts the pods' volumes here that have the volume.
func (d *Drivers) users(key string) (int, error) {
	paths, err := filepath.Glob(filepath.Join(d.cfg.PodsDir, "*", "volumes", "*", recordName))
	if err != nil {
		return 0, err
	}
	n := 0
	for _, path := range paths {
		r, err := readRecord(filepath.Dir(path))
		if err != nil {
			return 0, err
		}
		if r != nil && r.key() == key {
			n++
		}
	}
	return n, nil
}
