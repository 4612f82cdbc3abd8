package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	dirPerm  = 0o700
	filePerm = 0o600
	// Runners with user ids of their own read modules: whoever knows a digest can open its blob, and nobody can list them.
	blobDirPerm = 0o711
	blobPerm    = 0o644

	algorithm = "sha256:"
	tmpPrefix = ".incoming-"
)

// blobs is a directory of files named by the hash of their content.
type blobs struct {
	dir string

	mu       sync.Mutex
	verified map[string]bool
}

func newBlobs(root string) *blobs {
	return &blobs{dir: filepath.Join(root, "blobs", "sha256"), verified: map[string]bool{}}
}

// open makes the directory and clears what an interrupted pull left.
func (b *blobs) open() error {
	for _, dir := range []string{filepath.Dir(b.dir), b.dir} {
		err := os.Mkdir(dir, blobDirPerm)
		if err == nil || errors.Is(err, fs.ErrExist) {
			err = os.Chmod(dir, blobDirPerm)
		}
		if err != nil {
			return fmt.Errorf("create blob directory: %w", err)
		}
	}
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return fmt.Errorf("list blobs: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tmpPrefix) {
			if err := os.Remove(filepath.Join(b.dir, e.Name())); err != nil {
				return fmt.Errorf("remove unfinished blob: %w", err)
			}
			continue
		}
		if err := os.Chmod(filepath.Join(b.dir, e.Name()), blobPerm); err != nil { // an earlier version kept them closed
			return fmt.Errorf("open blob to runners: %w", err)
		}
	}
	return nil
}

// path of a digest. The caller has the digest from a hash or from validDigest.
func (b *blobs) path(digest string) string {
	return filepath.Join(b.dir, strings.TrimPrefix(digest, algorithm))
}

func validDigest(d string) bool {
	digits, ok := strings.CutPrefix(d, algorithm)
	if !ok || len(digits) != 2*sha256.Size || strings.ToLower(digits) != digits {
		return false
	}
	_, err := hex.DecodeString(digits)
	return err == nil
}

// write stores at most limit bytes of r and answers their digest and number.
func (b *blobs) write(r io.Reader, limit int64) (digest string, size int64, err error) {
	tmp, err := os.CreateTemp(b.dir, tmpPrefix)
	if err != nil {
		return "", 0, fmt.Errorf("create blob: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreClosed(tmp.Close()), os.Remove(tmp.Name()))
		}
	}()
	hash := sha256.New()
	size, err = io.Copy(io.MultiWriter(tmp, hash), io.LimitReader(r, limit+1))
	if err != nil {
		return "", 0, fmt.Errorf("write blob: %w", err)
	}
	if size > limit {
		return "", 0, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	if err = errors.Join(tmp.Chmod(blobPerm), tmp.Sync()); err == nil {
		err = tmp.Close()
	}
	if err != nil {
		return "", 0, fmt.Errorf("write blob: %w", err)
	}
	digest = algorithm + hex.EncodeToString(hash.Sum(nil))
	if err = os.Rename(tmp.Name(), b.path(digest)); err != nil {
		return "", 0, fmt.Errorf("write blob: %w", err)
	}
	b.mark(digest, true)
	return digest, size, syncDir(b.dir)
}

// adopt makes a file, whose content was found to be what the digest says, the blob.
func (b *blobs) adopt(f *os.File, digest string) error {
	err := errors.Join(f.Chmod(blobPerm), f.Sync())
	if err == nil {
		err = os.Rename(f.Name(), b.path(digest))
	}
	if err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	b.mark(digest, true)
	return syncDir(b.dir)
}

// verify reads the blob and holds it to its digest, once while the process lives.
func (b *blobs) verify(digest string) error {
	b.mu.Lock()
	done := b.verified[digest]
	b.mu.Unlock()
	if done {
		return nil
	}
	f, err := os.Open(b.path(digest))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return fmt.Errorf("read blob: %w", err)
	}
	if got := algorithm + hex.EncodeToString(hash.Sum(nil)); got != digest {
		return fmt.Errorf("%w: blob %s has the content of %s", ErrCorrupt, digest, got)
	}
	b.mark(digest, true)
	return nil
}

func (b *blobs) remove(digest string) error {
	b.mark(digest, false)
	err := os.Remove(b.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (b *blobs) mark(digest string, verified bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if verified {
		b.verified[digest] = true
	} else {
		delete(b.verified, digest)
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// BlobDir is where the store below root keeps modules.
func BlobDir(root string) string { return newBlobs(root).dir }
