package wasi

import (
	"cmp"
	"slices"
	"strings"
)

// memDir is a directory of the scratch file system. The one that the guest was given is the root.
type memDir struct {
	fs   *scratch
	node *node
}

var _ directory = (*memDir)(nil)

func (d *memDir) fileType() fileType      { return typeDirectory }
func (d *memDir) stat() (filestat, Errno) { return d.node.stat(), 0 }
func (d *memDir) setTimes(t times) Errno  { return d.fs.setTimes(d.node, t) }
func (d *memDir) sync(bool) Errno         { return 0 }

func (d *memDir) close() {
	if d.node != d.fs.root.node {
		d.node.opens--
		d.fs.forget(d.node)
	}
}

func (d *memDir) openAt(p string, o opening) (object, Errno) {
	at, errno := d.fs.walk(d.node, p)
	if errno != 0 {
		return nil, errno
	}
	switch {
	case at.node == nil && o.flags&openCreate == 0:
		return nil, ErrnoNoEnt
	case at.node == nil && (strings.HasSuffix(p, "/") || o.flags&openDirectory != 0):
		return nil, ErrnoIsDir
	case at.node == nil:
		if at.node, errno = d.fs.add(at.dir, at.name, false); errno != 0 {
			return nil, errno
		}
	case o.flags&openCreate != 0 && o.flags&openExclusive != 0:
		return nil, ErrnoExist
	case at.node.isDir() && (o.write || o.flags&openTruncate != 0):
		return nil, ErrnoIsDir
	case !at.node.isDir() && o.flags&openDirectory != 0:
		return nil, ErrnoNotDir
	}
	if at.node != d.fs.root.node {
		at.node.opens++
	}
	if at.node.isDir() {
		return &memDir{fs: d.fs, node: at.node}, 0
	}
	f := &memFile{fs: d.fs, node: at.node}
	if o.flags&openTruncate != 0 {
		return f, f.truncate(0)
	}
	return f, 0
}

// existing walks to what has to be there.
func (d *memDir) existing(p string) (found, Errno) {
	at, errno := d.fs.walk(d.node, p)
	if errno == 0 && at.node == nil {
		errno = ErrnoNoEnt
	}
	return at, errno
}

func (d *memDir) statAt(p string, _ bool) (filestat, Errno) {
	at, errno := d.existing(p)
	if errno != 0 {
		return filestat{}, errno
	}
	return at.node.stat(), 0
}

func (d *memDir) setTimesAt(p string, _ bool, t times) Errno {
	at, errno := d.existing(p)
	if errno != 0 {
		return errno
	}
	return d.fs.setTimes(at.node, t)
}

func (d *memDir) mkdir(p string) Errno {
	at, errno := d.fs.walk(d.node, p)
	if errno == 0 && at.node != nil {
		errno = ErrnoExist
	}
	if errno == 0 {
		_, errno = d.fs.add(at.dir, at.name, true)
	}
	return errno
}

func (d *memDir) rmdir(p string) Errno {
	at, errno := d.existing(p)
	switch {
	case errno != 0:
		return errno
	case !at.node.isDir():
		return ErrnoNotDir
	case at.dir == nil:
		return ErrnoBusy
	case len(at.node.children) > 0:
		return ErrnoNotEmpty
	}
	d.fs.detach(at.dir, at.name)
	return 0
}

func (d *memDir) unlink(p string) Errno {
	at, errno := d.existing(p)
	switch {
	case errno != 0:
		return errno
	case at.node.isDir():
		return ErrnoIsDir
	}
	d.fs.detach(at.dir, at.name)
	return 0
}

func (d *memDir) symlink(_, p string) Errno {
	at, errno := d.fs.walk(d.node, p)
	switch {
	case errno != 0:
		return errno
	case at.node != nil:
		return ErrnoExist
	}
	return ErrnoNotSup
}

func (d *memDir) readlink(p string) (string, Errno) {
	if _, errno := d.existing(p); errno != 0 {
		return "", errno
	}
	return "", ErrnoInval
}

func (d *memDir) rename(from string, to directory, p string) Errno {
	other, ok := to.(*memDir)
	if !ok {
		return ErrnoXdev
	}
	source, errno := d.existing(from)
	if errno != 0 {
		return errno
	}
	target, errno := d.fs.walk(other.node, p)
	switch {
	case errno != 0:
		return errno
	case source.dir == nil || target.dir == nil && target.node != nil:
		return ErrnoBusy
	case source.node == target.node:
		return 0
	case !target.dir.linked:
		return ErrnoNoEnt
	case source.node.isDir() && source.node.holds(target.dir):
		return ErrnoInval
	}
	if errno := replaceable(source.node, target.node, p); errno != 0 {
		return errno
	}
	if target.node != nil {
		d.fs.detach(target.dir, target.name)
	}
	delete(source.dir.children, source.name)
	d.fs.attach(target.dir, target.name, source.node)
	return 0
}

// replaceable tells whether a node may take the place of another, if there is one.
func replaceable(n, old *node, p string) Errno {
	switch {
	case old == nil && !n.isDir() && strings.HasSuffix(p, "/"):
		return ErrnoNotDir
	case old == nil:
		return 0
	case n.isDir() && !old.isDir():
		return ErrnoNotDir
	case !n.isDir() && old.isDir():
		return ErrnoIsDir
	case old.isDir() && len(old.children) > 0:
		return ErrnoNotEmpty
	}
	return 0
}

// holds tells whether a directory is n or below it.
func (n *node) holds(dir *node) bool {
	for ; dir != nil; dir = dir.parent {
		if dir == n {
			return true
		}
	}
	return false
}

func (d *memDir) link(from string, _ bool, to directory, p string) Errno {
	other, ok := to.(*memDir)
	if !ok {
		return ErrnoXdev
	}
	if _, errno := d.existing(from); errno != 0 {
		return errno
	}
	at, errno := d.fs.walk(other.node, p)
	switch {
	case errno != 0:
		return errno
	case at.node != nil:
		return ErrnoExist
	}
	return ErrnoNotSup
}

// memLister lists by inode, which are given in order: so a cookie is good whatever comes and goes.
type memLister struct{ node *node }

func (d *memDir) lister() (lister, Errno) { return memLister{d.node}, 0 }
func (l memLister) close()                {}

func (l memLister) list(cookie uint64, emit func(dirent) bool) Errno {
	// Inode 0 is nobody's, so the cookies 1 and 2 are those behind the two dots.
	const dots = 2
	for i, name := range []string{".", ".."} {
		if cookie <= uint64(i) && !emit(dirent{next: uint64(i) + 1, ino: l.node.ino, name: name, kind: typeDirectory}) {
			return 0
		}
	}
	var entries []dirent
	for name, n := range l.node.children {
		if next := n.ino + dots; next > cookie {
			entries = append(entries, dirent{next: next, ino: n.ino, name: name, kind: n.stat().kind})
		}
	}
	slices.SortFunc(entries, func(a, b dirent) int { return cmp.Compare(a.next, b.next) })
	for _, e := range entries {
		if !emit(e) {
			return 0
		}
	}
	return 0
}
