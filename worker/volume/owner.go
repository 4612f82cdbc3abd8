package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// noGroup says that the pod asks for no group of its volumes.
const noGroup = -1

// What a group that owns a volume may do with it; the set-group-ID bit hands the group down to what is made later.
const (
	groupWrites  = 0o660
	groupReads   = 0o440
	groupPasses  = 0o110
	permissions  = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	groupInherit = fs.ModeSetgid
)

// group is who is to own a volume.
type group struct {
	id int
	// once says that a volume whose root is right already is left alone.
	once bool
}

// groupOf is the group of the pod's volumes. A worker that is not root can give nothing away; all that runs there are
// guests of the Wasm runtime, which have no groups.
func groupOf(p *corev1.Pod) group {
	s := p.Spec.SecurityContext
	if s == nil || s.FSGroup == nil || os.Geteuid() != 0 {
		return group{id: noGroup}
	}
	return group{id: int(*s.FSGroup), once: s.FSGroupChangePolicy != nil && *s.FSGroupChangePolicy == corev1.FSGroupChangeOnRootMismatch}
}

// own gives a volume that is written to to the group, with all that is in it.
func own(root string, g group) error {
	if g.id == noGroup {
		return nil
	}
	if g.once {
		info, err := os.Lstat(root)
		if err != nil {
			return err
		}
		if gid(info) == g.id && info.Mode()&permissions == widened(info, groupWrites) {
			return nil
		}
	}
	// The root comes last, so that a change that was interrupted is found and done again.
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == root {
			return unlessGone(err)
		}
		return unlessGone(give(path, g.id, groupWrites))
	})
	if err != nil {
		return err
	}
	return give(root, g.id, groupWrites)
}

// unlessGone lets containers remove files beneath the walk.
func unlessGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// give makes the group one file's. Symbolic links are given away themselves, and have no mode.
func give(path string, id int, mode fs.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if gid(info) != id {
		if err := os.Lchown(path, -1, id); err != nil {
			return err
		}
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	// Changing the owner may have taken special bits away: the mode is set in any case.
	return os.Chmod(path, widened(info, mode))
}

// widened is a file's mode with what the group is to have.
func widened(info fs.FileInfo, mode fs.FileMode) fs.FileMode {
	if info.IsDir() {
		mode |= groupPasses | groupInherit
	}
	return info.Mode()&permissions | mode
}

func gid(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Gid)
	}
	return noGroup
}
