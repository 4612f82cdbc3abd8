package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// partLife is how long the begin of a blob is kept for who tries again.
	partLife = 24 * time.Hour
	// maxParts bounds the begins of blobs that are kept.
	maxParts = 16
	// pageSize is the grain of a hole in a file.
	pageSize = 4096
)

// incoming are blobs on their way: a download that was cut off goes on where it ended, in this process or the next. A
// part belongs to a repository, so that no registry can spoil or learn what comes from another.
type incoming struct {
	dir string

	mu    sync.Mutex
	taken map[string]chan struct{} // closed when the part is free again
}

func newIncoming(root string) *incoming {
	return &incoming{dir: filepath.Join(root, "incoming"), taken: map[string]chan struct{}{}}
}

// open makes the directory and clears what is old.
func (in *incoming) open() error {
	if err := os.MkdirAll(in.dir, dirPerm); err != nil {
		return fmt.Errorf("create directory for downloads: %w", err)
	}
	return in.prune(time.Now())
}

// prune removes parts that are old or too many.
func (in *incoming) prune(now time.Time) error {
	entries, err := os.ReadDir(in.dir)
	if err != nil {
		return fmt.Errorf("list downloads: %w", err)
	}
	var parts []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			parts = append(parts, info)
		}
	}
	slices.SortFunc(parts, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	in.mu.Lock()
	defer in.mu.Unlock()
	for n, info := range parts {
		if in.taken[info.Name()] != nil || n < maxParts && now.Sub(info.ModTime()) < partLife {
			continue
		}
		if err := os.RemoveAll(filepath.Join(in.dir, info.Name())); err != nil {
			return fmt.Errorf("remove old download: %w", err)
		}
	}
	return nil
}

// part is the file of a blob on its way. It belongs to one download.
type part struct {
	*os.File
	in   *incoming
	name string
}

// take waits for the part of a blob of a repository and opens it.
func (in *incoming) take(ctx context.Context, repo, digest string) (*part, error) {
	sum := sha256.Sum256([]byte(repo + "\x00" + digest))
	key := hex.EncodeToString(sum[:])
	for {
		in.mu.Lock()
		free := in.taken[key]
		if free == nil {
			in.taken[key] = make(chan struct{})
			in.mu.Unlock()
			break
		}
		in.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	f, err := os.OpenFile(filepath.Join(in.dir, key), os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		in.give(key)
		return nil, fmt.Errorf("open download: %w", err)
	}
	return &part{File: f, in: in, name: key}, nil
}

func (in *incoming) give(key string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	close(in.taken[key])
	delete(in.taken, key)
}

// leave gives the part up; it stays on disk unless gone.
func (p *part) leave(gone bool) error {
	defer p.in.give(p.name)
	err := p.Close()
	if gone {
		if rm := os.Remove(p.Name()); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, rm)
		}
	}
	return err
}

// begun is how many bytes of the blob are there from its begin on. Parts that came at the same time leave holes, and
// the page before one may be half: what is told wrongly is found by the digest.
func (p *part) begun() (int64, error) {
	info, err := p.Stat()
	if err != nil {
		return 0, fmt.Errorf("measure download: %w", err)
	}
	hole, err := unix.Seek(int(p.Fd()), 0, unix.SEEK_HOLE)
	if err != nil || hole >= info.Size() {
		return info.Size(), nil
	}
	return max(hole-pageSize, 0), nil
}

// digest reads the whole part.
func (p *part) digest() (string, error) {
	if _, err := p.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("read download: %w", err)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, p.File); err != nil {
		return "", fmt.Errorf("read download: %w", err)
	}
	return algorithm + hex.EncodeToString(hash.Sum(nil)), nil
}
