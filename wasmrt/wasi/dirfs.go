package wasi

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	sys "github.com/tetratelabs/wazero/experimental/sys"
	wsys "github.com/tetratelabs/wazero/sys"
)

// single is a file mounted by itself: it stands under its guest name in a directory, whatever its name on the host is.
type single struct {
	jail *jail
	name string
}

// dirFS is one preopened directory: a directory of the host (or none), with single files laid over it.
type dirFS struct {
	tree   *Tree
	base   *jail // nil when only single files are mounted here
	single map[string]single
}

var _ sys.FS = (*dirFS)(nil)

// at finds where a path really is. Single files shadow what the directory has under the same name.
func (d *dirFS) at(p string) (*jail, string, sys.Errno) {
	if s, ok := d.isSingle(p); ok {
		return s.jail, s.name, 0
	}
	if d.base == nil {
		if isSelf(p) {
			return nil, "", 0
		}
		return nil, "", sys.ENOENT
	}
	return d.base, p, 0
}

func isSelf(p string) bool { c := path.Clean("/" + p); return c == "/" }

func (d *dirFS) isSingle(p string) (single, bool) {
	if len(d.single) == 0 || strings.HasSuffix(p, "/") {
		return single{}, false
	}
	s, ok := d.single[path.Clean(p)]
	return s, ok
}

// change is for what alters a directory: single files can be written to, not renamed or removed, as a mount point is.
func (d *dirFS) change(p string, do func(j *jail) sys.Errno) sys.Errno {
	if _, ok := d.isSingle(p); ok {
		return sys.EPERM
	}
	if d.base == nil {
		return sys.EROFS
	}
	return do(d.base)
}

func (d *dirFS) OpenFile(p string, flag sys.Oflag, perm fs.FileMode) (sys.File, sys.Errno) {
	j, name, errno := d.at(p)
	if errno != 0 {
		if flag&sys.O_CREAT != 0 {
			return nil, sys.EROFS
		}
		return nil, errno
	}
	if j == nil {
		if flag&(sys.O_RDWR|sys.O_WRONLY) != 0 {
			return nil, sys.EISDIR
		}
		return &virtualDir{names: d.singles()}, 0
	}
	if d.base != nil && j != d.base && flag&sys.O_EXCL != 0 {
		return nil, sys.EEXIST
	}
	f, isDir, errno := j.open(name, flag, perm)
	if errno != 0 {
		return nil, errno
	}
	opened := &file{tree: d.tree, f: f, dir: isDir, readOnly: j.readOnly, append: flag&sys.O_APPEND != 0}
	if isSelf(p) {
		opened.extra = d.singles()
	}
	if errno := d.tree.add(opened); errno != 0 {
		_ = f.Close()
		return nil, errno
	}
	return opened, 0
}

// singles lists the single files for a directory listing.
func (d *dirFS) singles() []sys.Dirent {
	var entries []sys.Dirent
	for _, name := range slices.Sorted(maps.Keys(d.single)) {
		s := d.single[name]
		if st, errno := s.jail.stat(s.name, true); errno == 0 {
			entries = append(entries, sys.Dirent{Name: name, Ino: st.Ino, Type: st.Mode.Type()})
		}
	}
	return entries
}

func (d *dirFS) Stat(p string) (wsys.Stat_t, sys.Errno)  { return d.stat(p, true) }
func (d *dirFS) Lstat(p string) (wsys.Stat_t, sys.Errno) { return d.stat(p, false) }

func (d *dirFS) stat(p string, follow bool) (wsys.Stat_t, sys.Errno) {
	j, name, errno := d.at(p)
	switch {
	case errno != 0:
		return wsys.Stat_t{}, errno
	case j == nil:
		return virtualStat(), 0
	}
	return j.stat(name, follow)
}

func (d *dirFS) Mkdir(p string, perm fs.FileMode) sys.Errno {
	return d.change(p, func(j *jail) sys.Errno {
		return j.change(func() error { return j.root.Mkdir(strings.TrimSuffix(clean(p), "/"), perm.Perm()) })
	})
}

func (d *dirFS) Chmod(p string, perm fs.FileMode) sys.Errno {
	return d.change(p, func(j *jail) sys.Errno {
		return j.change(func() error { return j.root.Chmod(clean(p), perm.Perm()) })
	})
}

func (d *dirFS) Rename(from, to string) sys.Errno {
	if _, ok := d.isSingle(to); ok {
		return sys.EPERM
	}
	return d.change(from, func(j *jail) sys.Errno {
		return j.change(func() error { return j.root.Rename(clean(from), clean(to)) })
	})
}

func (d *dirFS) Rmdir(p string) sys.Errno {
	return d.change(p, func(j *jail) sys.Errno { return j.rmdir(p) })
}

func (d *dirFS) Unlink(p string) sys.Errno {
	return d.change(p, func(j *jail) sys.Errno { return j.unlink(p) })
}

func (d *dirFS) Link(oldPath, newPath string) sys.Errno {
	if _, ok := d.isSingle(newPath); ok {
		return sys.EEXIST
	}
	return d.change(oldPath, func(j *jail) sys.Errno {
		return j.change(func() error { return j.root.Link(clean(oldPath), clean(newPath)) })
	})
}

func (d *dirFS) Symlink(target, link string) sys.Errno {
	return d.change(link, func(j *jail) sys.Errno { return j.symlink(target, link) })
}

func (d *dirFS) Readlink(p string) (string, sys.Errno) {
	j, name, errno := d.at(p)
	if errno != 0 {
		return "", errno
	}
	if j == nil || j != d.base {
		return "", sys.EINVAL
	}
	return j.readlink(name)
}

func (d *dirFS) Utimens(p string, atim, mtim int64) sys.Errno {
	j, name, errno := d.at(p)
	if errno != 0 {
		return errno
	}
	if j == nil {
		return sys.EROFS
	}
	return j.utimens(name, atim, mtim)
}
