package wasi

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// MaxMounts bounds the mounts of one instance: each costs descriptors of the host.
const MaxMounts = 64

// Mount shows a directory or a regular file of the host to a guest.
type Mount struct {
	HostPath  string // absolute
	GuestPath string // absolute and clean, e.g. "/data"; for a file it names the file
	ReadOnly  bool
}

// Validate checks what can be told without looking at the host's files.
func (m Mount) Validate() error {
	switch {
	case !filepath.IsAbs(m.HostPath):
		return fmt.Errorf("check mount: host path %q is not absolute", m.HostPath)
	case !path.IsAbs(m.GuestPath):
		return fmt.Errorf("check mount: guest path %q is not absolute", m.GuestPath)
	case path.Clean(m.GuestPath) != m.GuestPath:
		return fmt.Errorf("check mount: guest path %q is not clean, write %q", m.GuestPath, path.Clean(m.GuestPath))
	case strings.ContainsRune(m.GuestPath, 0):
		return errors.New("check mount: guest path has a zero byte")
	}
	return nil
}

// ValidateAll checks mounts as a set.
func ValidateAll(mounts []Mount) error {
	if len(mounts) > MaxMounts {
		return fmt.Errorf("check mounts: %d mounts, the limit is %d", len(mounts), MaxMounts)
	}
	seen := make(map[string]bool, len(mounts))
	for _, m := range mounts {
		if err := m.Validate(); err != nil {
			return err
		}
		if seen[m.GuestPath] {
			return fmt.Errorf("check mounts: %q is mounted twice", m.GuestPath)
		}
		seen[m.GuestPath] = true
	}
	return nil
}
