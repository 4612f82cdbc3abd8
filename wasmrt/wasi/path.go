package wasi

import (
	"bytes"
	"path"
	"strings"
	"unicode/utf8"
)

// checkPath refuses what is no path inside a directory.
func checkPath(b []byte) (string, Errno) {
	switch {
	case len(b) == 0:
		return "", ErrnoNoEnt
	case bytes.IndexByte(b, 0) >= 0:
		return "", ErrnoInval
	case !utf8.Valid(b):
		return "", ErrnoIlseq
	}
	return string(b), 0
}

// cleanPath makes what a guest may call a directory itself one dot. Some libraries put a slash before relative paths.
func cleanPath(p string) string {
	if strings.Trim(p, "/") == "" {
		return "."
	}
	return path.Clean(p)
}

// dirPath looks up a directory and a path in it, of the i-th parameter.
func (c call) dirPath(fd uint32, i int, need rights) (directory, string, Errno) {
	d, errno := c.dir(fd, need)
	if errno != 0 {
		return nil, "", errno
	}
	p, errno := c.path(i)
	if errno != 0 {
		return nil, "", errno
	}
	c.h.Spend(costPath)
	if strings.Trim(p, "/") == "" {
		p = "."
	}
	return d, p, 0
}

func (c call) dir(fd uint32, need rights) (directory, Errno) {
	d, errno := c.s.lookup(fd, 0)
	if errno != 0 {
		return nil, errno
	}
	o, ok := d.object.(directory)
	switch {
	case !ok:
		return nil, ErrnoNotDir
	case d.base&need != need:
		return nil, ErrnoNotCapable
	}
	return o, 0
}

// lookupFollow is the flag that asks to follow a symbolic link at a path's end.
const lookupFollow = 1

func pathCreateDirectory(c call) Errno {
	d, p, errno := c.dirPath(c.fd(0), 1, rightPathCreateDirectory)
	if errno != 0 {
		return errno
	}
	return d.mkdir(p)
}

func pathFilestatGet(c call) Errno {
	d, p, errno := c.dirPath(c.fd(0), 2, rightPathFilestatGet)
	if errno != 0 {
		return errno
	}
	st, errno := d.statAt(p, c.u32(1)&lookupFollow != 0)
	if errno != 0 {
		return errno
	}
	return c.putFilestat(c.u32(4), st)
}

func pathFilestatSetTimes(c call) Errno {
	d, p, errno := c.dirPath(c.fd(0), 2, rightPathFilestatSetTimes)
	if errno != 0 {
		return errno
	}
	t, errno := c.times(4)
	if errno != 0 {
		return errno
	}
	return d.setTimesAt(p, c.u32(1)&lookupFollow != 0, t)
}

func pathLink(c call) Errno {
	from, fromPath, errno := c.dirPath(c.fd(0), 2, rightPathLinkSource)
	if errno != 0 {
		return errno
	}
	to, toPath, errno := c.dirPath(c.fd(4), 5, rightPathLinkTarget)
	if errno != 0 {
		return errno
	}
	if shadows(to, toPath) {
		return ErrnoExist
	}
	return from.link(fromPath, c.u32(1)&lookupFollow != 0, to, toPath)
}

func pathReadlink(c call) Errno {
	d, p, errno := c.dirPath(c.fd(0), 1, rightPathReadlink)
	if errno != 0 {
		return errno
	}
	buf, errno := c.buffer(3)
	if errno != 0 {
		return errno
	}
	if errno := c.writable(c.u32(5), 4); errno != 0 {
		return errno
	}
	target, errno := d.readlink(p)
	if errno != 0 {
		return errno
	}
	return c.put32(c.u32(5), uint32(copy(buf, target)))
}

func pathRemoveDirectory(c call) Errno {
	d, p, errno := c.dirPath(c.fd(0), 1, rightPathRemoveDirectory)
	if errno != 0 {
		return errno
	}
	if last := path.Base(strings.TrimRight(p, "/")); last == "." || last == ".." {
		return ErrnoInval
	}
	return d.rmdir(p)
}

func pathRename(c call) Errno {
	from, fromPath, errno := c.dirPath(c.fd(0), 1, rightPathRenameSource)
	if errno != 0 {
		return errno
	}
	to, toPath, errno := c.dirPath(c.fd(3), 4, rightPathRenameTarget)
	if errno != 0 {
		return errno
	}
	if shadows(to, toPath) {
		return ErrnoPerm
	}
	return from.rename(fromPath, to, toPath)
}

func pathSymlink(c call) Errno {
	d, p, errno := c.dirPath(c.fd(2), 3, rightPathSymlink)
	if errno != 0 {
		return errno
	}
	target, errno := c.path(0)
	if errno != 0 {
		return errno
	}
	return d.symlink(target, p)
}

func pathUnlinkFile(c call) Errno {
	d, p, errno := c.dirPath(c.fd(0), 1, rightPathUnlinkFile)
	if errno != 0 {
		return errno
	}
	return d.unlink(p)
}
