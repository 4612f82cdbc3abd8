package apps

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// errTooLarge is a body beyond its limit.
var errTooLarge = errors.New("body exceeds its limit")

// spool is a body on disk. The file has no name, so that nothing is left behind however the process ends.
type spool struct {
	file   *os.File
	size   int64
	mapped []byte
}

// newSpool reads all of r into a file below dir.
func newSpool(dir string, r io.Reader, limit int64) (*spool, error) {
	f, err := os.CreateTemp(dir, "upload-*")
	if err != nil {
		return nil, fmt.Errorf("make spool file: %w", err)
	}
	s := &spool{file: f}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("unname spool file: %w", err), s.Close())
	}
	s.size, err = io.Copy(f, io.LimitReader(r, limit+1))
	if err == nil && s.size > limit {
		err = errTooLarge
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read body: %w", err), s.Close())
	}
	return s, nil
}

// Bytes are the body, as pages of the file: reading them costs no heap. They are valid until Close.
func (s *spool) Bytes() ([]byte, error) {
	if s.mapped != nil || s.size == 0 {
		return s.mapped, nil
	}
	mapped, err := syscall.Mmap(int(s.file.Fd()), 0, int(s.size), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map spool file: %w", err)
	}
	s.mapped = mapped
	return mapped, nil
}

// Close gives the disk space back.
func (s *spool) Close() error {
	var err error
	if s.mapped != nil {
		err = syscall.Munmap(s.mapped)
		s.mapped = nil
	}
	return errors.Join(err, s.file.Close())
}
