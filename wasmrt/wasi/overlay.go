package wasi

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// single is a file mounted by itself: it stands under its guest name in a directory, whatever its name on the host is.
type single struct {
	dir  *hostDir
	name string
}

// overlay is a mounted directory, or none, with single files laid over it. They shadow what the directory has under the
// same name, and can be written to, not renamed or removed, as a mount point is.
type overlay struct {
	base    *hostDir // nil when only single files are mounted here
	singles map[string]single
}

var _ directory = (*overlay)(nil)

// at finds where a path really is; nil is the overlay itself.
func (o *overlay) at(p string) (*hostDir, string, Errno) {
	if s, ok := o.isSingle(p); ok {
		return s.dir, s.name, 0
	}
	if o.base != nil {
		return o.base, p, 0
	}
	if isSelf(p) {
		return nil, "", 0
	}
	if first, _, deeper := strings.Cut(path.Clean(p), "/"); deeper {
		if _, ok := o.singles[first]; ok {
			return nil, "", ErrnoNotDir
		}
	}
	return nil, "", ErrnoNoEnt
}

func (o *overlay) isSingle(p string) (single, bool) {
	if strings.HasSuffix(p, "/") {
		return single{}, false
	}
	s, ok := o.singles[path.Clean(p)]
	return s, ok
}

// change finds the directory to change.
func (o *overlay) change(p string) (*hostDir, Errno) {
	if _, ok := o.isSingle(p); ok {
		return nil, ErrnoPerm
	}
	if o.base == nil {
		return nil, ErrnoRofs
	}
	return o.base, 0
}

func (o *overlay) fileType() fileType { return typeDirectory }
func (o *overlay) close()             {} // what it has is the mounts'

func (o *overlay) stat() (filestat, Errno) {
	if o.base != nil {
		return o.base.stat()
	}
	return filestat{kind: typeDirectory, nlink: 1}, 0
}

func (o *overlay) openAt(p string, how opening) (object, Errno) {
	if isSelf(p) {
		if how.write || how.flags&openTruncate != 0 {
			return nil, ErrnoIsDir
		}
		return o, 0
	}
	if _, ok := o.isSingle(p); ok && how.flags&openCreate != 0 && how.flags&openExclusive != 0 {
		return nil, ErrnoExist
	}
	dir, name, errno := o.at(p)
	if errno == ErrnoNoEnt && how.flags&openCreate != 0 {
		return nil, ErrnoRofs
	}
	if errno != 0 {
		return nil, errno
	}
	return dir.openAt(name, how)
}

func (o *overlay) statAt(p string, follow bool) (filestat, Errno) {
	dir, name, errno := o.at(p)
	switch {
	case errno != 0:
		return filestat{}, errno
	case dir == nil:
		return o.stat()
	}
	return dir.statAt(name, follow)
}

func (o *overlay) setTimes(t times) Errno { return o.setTimesAt(".", true, t) }

func (o *overlay) setTimesAt(p string, follow bool, t times) Errno {
	dir, name, errno := o.at(p)
	switch {
	case errno != 0:
		return errno
	case dir == nil:
		return ErrnoRofs
	}
	return dir.setTimesAt(name, follow, t)
}

func (o *overlay) mkdir(p string) Errno {
	if _, ok := o.isSingle(p); ok {
		return ErrnoExist
	}
	return o.inBase(p, func(d *hostDir) Errno { return d.mkdir(p) })
}

func (o *overlay) rmdir(p string) Errno {
	return o.inBase(p, func(d *hostDir) Errno { return d.rmdir(p) })
}

func (o *overlay) unlink(p string) Errno {
	return o.inBase(p, func(d *hostDir) Errno { return d.unlink(p) })
}

func (o *overlay) symlink(target, p string) Errno {
	return o.inBase(p, func(d *hostDir) Errno { return d.symlink(target, p) })
}

func (o *overlay) inBase(p string, do func(*hostDir) Errno) Errno {
	d, errno := o.change(p)
	if errno != 0 {
		return errno
	}
	return do(d)
}

func (o *overlay) readlink(p string) (string, Errno) {
	dir, name, errno := o.at(p)
	if errno != 0 {
		return "", errno
	}
	if dir == nil || dir != o.base {
		return "", ErrnoInval
	}
	return dir.readlink(name)
}

// shadows tells whether the target of a move or a link is a mounted file.
func shadows(to directory, p string) bool {
	other, ok := to.(*overlay)
	if !ok {
		return false
	}
	_, ok = other.isSingle(p)
	return ok
}

func (o *overlay) rename(from string, to directory, p string) Errno {
	return o.inBase(from, func(d *hostDir) Errno { return d.rename(from, to, p) })
}

func (o *overlay) link(from string, follow bool, to directory, p string) Errno {
	return o.inBase(from, func(d *hostDir) Errno { return d.link(from, follow, to, p) })
}

// overlayLister lists the single files first and then what the directory has. Its cookies count the single files and go on
// with the directory's.
type overlayLister struct {
	o    *overlay
	base lister // nil when there is none
}

func (o *overlay) lister() (lister, Errno) {
	l := &overlayLister{o: o}
	if o.base != nil {
		var errno Errno
		if l.base, errno = o.base.lister(); errno != 0 {
			return nil, errno
		}
	}
	return l, 0
}

func (l *overlayLister) close() {
	if l.base != nil {
		l.base.close()
	}
}

func (l *overlayLister) list(cookie uint64, emit func(dirent) bool) Errno {
	names := slices.Sorted(maps.Keys(l.o.singles))
	count := uint64(len(names))
	for ; cookie < count; cookie++ {
		s := l.o.singles[names[cookie]]
		st, errno := s.dir.statAt(s.name, true)
		if errno != 0 {
			continue
		}
		if !emit(dirent{next: cookie + 1, ino: st.ino, name: names[cookie], kind: st.kind}) {
			return 0
		}
	}
	if l.base == nil {
		return 0
	}
	return l.base.list(cookie-count, func(e dirent) bool {
		if _, ok := l.o.singles[e.name]; ok {
			return true
		}
		e.next += count
		return emit(e)
	})
}
