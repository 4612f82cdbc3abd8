package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Image is what is known of a pulled image. Values that a Store hands out are not changed afterwards.
type Image struct {
	// ID is the digest of the manifest.
	ID          string   `json:"id"`
	RepoTags    []string `json:"repoTags,omitempty"`
	RepoDigests []string `json:"repoDigests,omitempty"`
	Layout      string   `json:"layout"`
	// Blobs are the digests of everything stored for it: manifest, config, module.
	Blobs []string `json:"blobs"`
	// Size is that of Blobs together, in bytes.
	Size       int64    `json:"size"`
	Module     string   `json:"module"` // digest of the bare module
	ModuleSize int64    `json:"moduleSize"`
	Kind       string   `json:"kind"` // of the module: command, reactor
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	Env        []string `json:"env,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
	PulledAt   int64    `json:"pulledAt"` // Unix nanoseconds
	// CompileMicros is what compiling took when it was pulled; CompileCached that it had been compiled before.
	CompileMicros int64 `json:"compileMicros"`
	CompileCached bool  `json:"compileCached"`
}

func (i *Image) clone() *Image {
	c := *i
	c.RepoTags, c.RepoDigests = slices.Clone(i.RepoTags), slices.Clone(i.RepoDigests)
	return &c
}

// decodeRecord reads a record and holds it to what the store relies on.
func decodeRecord(raw []byte, file string) (*Image, error) {
	var i Image
	if err := json.Unmarshal(raw, &i); err != nil {
		return nil, fmt.Errorf("decode image: %w", err)
	}
	if !validDigest(i.ID) || recordFile(i.ID) != file {
		return nil, errors.New("decode image: the record is not of this file")
	}
	if !slices.Contains(i.Blobs, i.Module) || !slices.Contains(i.Blobs, i.ID) {
		return nil, errors.New("decode image: module or manifest is none of the blobs")
	}
	for _, d := range i.Blobs {
		if !validDigest(d) {
			return nil, fmt.Errorf("decode image: %q is no digest", d)
		}
	}
	return &i, nil
}

func recordFile(id string) string { return strings.TrimPrefix(id, algorithm) + ".json" }

// readRecords reads all records of dir. What cannot be read, or lacks a blob, is removed and told.
func readRecords(dir string, b *blobs) (images []*Image, dropped []error, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list images: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		i, err := readRecord(path, e.Name())
		if err == nil {
			err = haveBlobs(i, b)
		}
		if err != nil {
			dropped = append(dropped, errors.Join(fmt.Errorf("load image %s: %w", e.Name(), err), os.RemoveAll(path)))
			continue
		}
		images = append(images, i)
	}
	return images, dropped, nil
}

func readRecord(path, file string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxRecord))
	if err != nil {
		return nil, err
	}
	return decodeRecord(raw, file)
}

func haveBlobs(i *Image, b *blobs) error {
	var size int64
	for _, d := range i.Blobs {
		info, err := os.Stat(b.path(d))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("blob %s is missing", d)
		}
		if err != nil {
			return err
		}
		size += info.Size()
	}
	if size != i.Size {
		return fmt.Errorf("its blobs have %d bytes instead of %d", size, i.Size)
	}
	return nil
}

// writeRecord replaces the record on disk.
func writeRecord(dir string, i *Image) error {
	raw, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("encode image: %w", err)
	}
	path := filepath.Join(dir, recordFile(i.ID))
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, filePerm)
	if err != nil {
		return fmt.Errorf("save image: %w", err)
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return fmt.Errorf("save image: %w", err)
	}
	return syncDir(dir)
}
