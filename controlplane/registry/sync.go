package registry

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// syncManifest brings a manifest, the blobs it names and the repository's index to the disk. olareg renames files
// into place, which survives the end of the process; syncing makes it survive the machine's.
func (r *Registry) syncManifest(repository, digest string) error {
	hash, err := v1.NewHash(digest)
	if err != nil {
		return fmt.Errorf("parse digest %q: %w", digest, err)
	}
	dir := r.dir(repository)
	path := blobPath(dir, hash)
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	files := []string{path, filepath.Join(dir, "index.json"), filepath.Join(dir, "oci-layout")}
	var manifest v1.Manifest
	// An index has neither config nor layers; what it names was synced when it was pushed.
	if err := json.Unmarshal(raw, &manifest); err == nil {
		for _, d := range append(manifest.Layers, manifest.Config) {
			if d.Digest != (v1.Hash{}) {
				files = append(files, blobPath(dir, d.Digest))
			}
		}
	}
	for _, file := range files {
		if err := syncPath(file); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("sync module: %w", err)
		}
	}
	return syncParents(filepath.Dir(path), r.cfg.Dir)
}

// syncParents syncs a directory and those above it up to and with top: a name is only as safe as its directory.
func syncParents(dir, top string) error {
	for {
		if err := syncPath(dir); err != nil {
			return fmt.Errorf("sync directory: %w", err)
		}
		if dir == top || len(dir) <= len(top) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func blobPath(dir string, hash v1.Hash) string {
	return filepath.Join(dir, "blobs", hash.Algorithm, hash.Hex)
}
