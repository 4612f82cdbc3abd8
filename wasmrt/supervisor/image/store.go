package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Store is the images on disk. It is safe for concurrent use.
type Store struct {
	dir      string // of the records
	root     string
	blobs    *blobs
	incoming *incoming

	mu      sync.Mutex
	images  map[string]*Image // by id
	pulls   int               // running, each of which may have written blobs that no record names yet
	garbage []string          // blobs to remove when no pull runs
}

// NewStore returns the store below root. It does no I/O.
func NewStore(root string) *Store {
	return &Store{root: root, dir: filepath.Join(root, "images"), blobs: newBlobs(root), incoming: newIncoming(root), images: map[string]*Image{}}
}

// Open reads the records, and removes blobs that belong to none. It answers what it had to forget.
func (s *Store) Open() (dropped []error, err error) {
	if err := os.MkdirAll(s.dir, dirPerm); err != nil {
		return nil, fmt.Errorf("create image directory: %w", err)
	}
	if err := s.blobs.open(); err != nil {
		return nil, err
	}
	if err := s.incoming.open(); err != nil {
		return nil, err
	}
	images, dropped, err := readRecords(s.dir, s.blobs)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range images {
		s.images[i.ID] = i
	}
	return dropped, s.sweep()
}

// sweep removes blobs without an image. No pull may be running.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.blobs.dir)
	if err != nil {
		return fmt.Errorf("list blobs: %w", err)
	}
	for _, e := range entries {
		if digest := algorithm + e.Name(); !s.used(digest) {
			if err := s.blobs.remove(digest); err != nil {
				return fmt.Errorf("remove blob: %w", err)
			}
		}
	}
	return nil
}

func (s *Store) used(digest string) bool {
	for _, i := range s.images {
		if slices.Contains(i.Blobs, digest) {
			return true
		}
	}
	return false
}

// Get finds an image by id, the begin of an id, tag or digest, and verifies its module when that was not done since the
// start. ErrNotFound says that there is none.
func (s *Store) Get(ref string) (*Image, error) {
	i := s.find(ref)
	if i == nil {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, ref)
	}
	if err := s.blobs.verify(i.Module); err != nil {
		return nil, errors.Join(err, s.forget(i.ID))
	}
	return i, nil
}

// ModulePath is the file of the image's module.
func (s *Store) ModulePath(i *Image) string { return s.blobs.path(i.Module) }

// Manifest is the image's manifest as the registry sent it.
func (s *Store) Manifest(i *Image) ([]byte, error) { return os.ReadFile(s.blobs.path(i.ID)) }

// List answers all images, the newest first, or the one that ref names.
func (s *Store) List(ref string) []*Image {
	if ref != "" {
		if i := s.find(ref); i != nil {
			return []*Image{i}
		}
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Image, 0, len(s.images))
	for _, i := range s.images {
		list = append(list, i)
	}
	sort.Slice(list, func(a, b int) bool {
		if list[a].PulledAt != list[b].PulledAt {
			return list[a].PulledAt > list[b].PulledAt
		}
		return list[a].ID < list[b].ID
	})
	return list
}

// Remove forgets the image that ref names with all its names, and the blobs that no other image uses. It answers the
// module that nobody has any more, if it was the last image of it.
func (s *Store) Remove(ref string) (unused string, err error) {
	i := s.find(ref)
	if i == nil {
		return "", nil
	}
	err = s.forget(i.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.used(i.Module) {
		unused = i.Module
	}
	return unused, err
}

// Usage is what the store takes on disk: bytes of allocated blocks, and inodes.
func (s *Store) Usage() (bytes, inodes uint64, err error) {
	for _, dir := range []string{s.blobs.dir, s.dir, s.incoming.dir} {
		err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			var st unix.Stat_t
			if err == nil {
				err = unix.Lstat(path, &st)
			}
			if err == unix.ENOENT {
				return nil // removed meanwhile
			}
			bytes += uint64(st.Blocks) * 512
			inodes++
			return err
		})
		if err != nil {
			return 0, 0, fmt.Errorf("measure image store: %w", err)
		}
	}
	return bytes, inodes, nil
}

// Dir is where the blobs are, for the CRI's file system's identity.
func (s *Store) Dir() string { return s.blobs.dir }

func (s *Store) find(ref string) *Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.images[ref]; i != nil {
		return i
	}
	if r, err := parse(ref); err == nil {
		want := canonical(r)
		for _, i := range s.images {
			if slices.Contains(i.RepoTags, want) || slices.Contains(i.RepoDigests, want) {
				return i
			}
		}
	}
	digits, ok := shortID(ref)
	if !ok {
		return nil
	}
	var found *Image
	for id, i := range s.images {
		if strings.HasPrefix(id, algorithm+digits) {
			if found != nil {
				return nil // ambiguous
			}
			found = i
		}
	}
	return found
}

// put records an image under a further tag or digest. A tag that named another image is taken from that one.
func (s *Store) put(i *Image, tag, digest string) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.images[i.ID]; have != nil {
		i = have
	}
	i = i.clone()
	if digest != "" && !slices.Contains(i.RepoDigests, digest) {
		i.RepoDigests = append(i.RepoDigests, digest)
	}
	if tag != "" && !slices.Contains(i.RepoTags, tag) {
		i.RepoTags = append(i.RepoTags, tag)
	}
	if err := writeRecord(s.dir, i); err != nil {
		return nil, err
	}
	s.images[i.ID] = i
	for id, other := range s.images {
		if at := slices.Index(other.RepoTags, tag); id != i.ID && at >= 0 {
			other = other.clone()
			other.RepoTags = slices.Delete(other.RepoTags, at, at+1)
			if err := writeRecord(s.dir, other); err != nil {
				return nil, err
			}
			s.images[id] = other
		}
	}
	return i, nil
}

func (s *Store) forget(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[id]
	if i == nil {
		return nil
	}
	if err := os.Remove(filepath.Join(s.dir, recordFile(id))); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove image: %w", err)
	}
	delete(s.images, id)
	s.garbage = append(s.garbage, i.Blobs...)
	return s.collect()
}

// pulling keeps blobs from being removed until done is called: those it reads or writes belong to no record yet.
func (s *Store) pulling() (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pulls++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pulls--
		_ = s.collect() // what stays is removed at the next start
	}
}

// abandon marks blobs that a failed pull wrote.
func (s *Store) abandon(digests []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.garbage = append(s.garbage, digests...)
}

// collect removes garbage that no image uses, unless a pull runs.
func (s *Store) collect() error {
	if s.pulls > 0 {
		return nil
	}
	garbage := s.garbage
	s.garbage = nil
	for _, d := range garbage {
		if !s.used(d) {
			if err := s.blobs.remove(d); err != nil {
				return fmt.Errorf("remove blob: %w", err)
			}
		}
	}
	return nil
}
