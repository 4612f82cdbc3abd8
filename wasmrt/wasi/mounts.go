package wasi

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
)

// mounts are the opened mounts, which a System shares with its clones.
type mounts struct {
	users    atomic.Int64
	preopens []preopened // by guest path, parents first
	roots    []*os.Root
	gone     bool // closed: only where they were is known
}

// preopened is a directory handed to the guest.
type preopened struct {
	guestPath string
	dir       directory
}

// openMounts opens what the mounts name.
func openMounts(list []Mount) (*mounts, error) {
	m := &mounts{}
	m.users.Store(1)
	places := map[string]*overlay{}
	for _, mount := range list {
		if err := m.open(mount, places); err != nil {
			return nil, errors.Join(fmt.Errorf("open mount %s: %w", mount.GuestPath, err), m.release())
		}
	}
	for guestPath, o := range places {
		p := preopened{guestPath: guestPath, dir: o}
		if len(o.singles) == 0 {
			p.dir = o.base
		}
		m.preopens = append(m.preopens, p)
	}
	slices.SortFunc(m.preopens, func(a, b preopened) int { return strings.Compare(a.guestPath, b.guestPath) })
	return m, nil
}

func (m *mounts) open(mount Mount, places map[string]*overlay) error {
	host, err := filepath.EvalSymlinks(mount.HostPath)
	if err != nil {
		return err
	}
	st, err := os.Lstat(host)
	if err != nil {
		return err
	}
	place := func(guestPath string) *overlay {
		if places[guestPath] == nil {
			places[guestPath] = &overlay{singles: map[string]single{}}
		}
		return places[guestPath]
	}
	switch {
	case st.IsDir():
		dir, err := m.root(host, mount.ReadOnly)
		if err != nil {
			return err
		}
		place(mount.GuestPath).base = dir
	case st.Mode().IsRegular():
		if mount.GuestPath == "/" {
			return errors.New("the host's path is a file, and the guest's root is a directory")
		}
		dir, err := m.root(filepath.Dir(host), mount.ReadOnly)
		if err != nil {
			return err
		}
		place(path.Dir(mount.GuestPath)).singles[path.Base(mount.GuestPath)] = single{dir: dir, name: filepath.Base(host)}
	default:
		return fmt.Errorf("the host's path is neither a directory nor a regular file (%s)", st.Mode().Type())
	}
	return nil
}

func (m *mounts) root(host string, readOnly bool) (*hostDir, error) {
	root, err := os.OpenRoot(host)
	if err != nil {
		return nil, err
	}
	m.roots = append(m.roots, root)
	return &hostDir{root: root, mount: &hostMount{readOnly: readOnly}, lent: true}, nil
}

// covers tells whether a mount stands at the path, or holds it.
func (m *mounts) covers(guestPath string) bool {
	return slices.ContainsFunc(m.preopens, func(p preopened) bool {
		return p.guestPath == guestPath || p.guestPath == "/" && p.hasBase()
	})
}

// at is the directory handed out under a path.
func (m *mounts) at(guestPath string) directory {
	i := slices.IndexFunc(m.preopens, func(p preopened) bool { return p.guestPath == guestPath })
	return m.preopens[i].dir
}

// hasBase tells whether there is more than single files.
func (p preopened) hasBase() bool {
	o, ok := p.dir.(*overlay)
	return !ok || o.base != nil
}

func (m *mounts) retain() *mounts {
	m.users.Add(1)
	return m
}

// release closes the mounts with the last that uses them.
func (m *mounts) release() error {
	if m.users.Add(-1) != 0 {
		return nil
	}
	var errs []error
	for _, r := range m.roots {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}
