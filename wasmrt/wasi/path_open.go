package wasi

func pathOpen(c call) Errno {
	flags, fd := openFlags(c.u32(4)), fdFlags(c.u32(7))
	if c.u32(4) > 15 || c.u32(7)&^uint32(flagsAll) != 0 {
		return ErrnoInval
	}
	need := rightPathOpen
	if flags&openCreate != 0 {
		need |= rightPathCreateFile
	}
	if flags&openTruncate != 0 {
		need |= rightPathFilestatSetSize
	}
	d, p, errno := c.dirPath(c.fd(0), 2, need)
	if errno != 0 {
		return errno
	}
	if errno := c.writable(c.u32(8), 4); errno != 0 {
		return errno
	}
	if errno := c.s.room(); errno != 0 {
		return errno
	}
	// Of the rights that a guest asks for, the ones to read and to write choose how a file is opened. Programs ask for
	// others that do not fit (a file's for a directory), so it gets those that its kind has.
	wanted := rights(c.stack[5])
	parent, _ := c.s.lookup(c.fd(0), 0)
	inherited := parent.inheriting
	o, errno := d.openAt(p, opening{
		flags: flags, fd: fd, follow: c.u32(1)&lookupFollow != 0,
		read:  wanted&(rightFdRead|rightFdReaddir) != 0,
		write: wanted&rightFdWrite != 0 && inherited&rightFdWrite != 0,
	})
	if errno != 0 {
		return errno
	}
	n, errno := c.s.insert(&descriptor{object: o, access: granted(o, wanted, inherited, fd)})
	if errno != 0 {
		return errno
	}
	return c.put32(c.u32(8), n)
}

// granted are the rights of what was opened: those of its kind, less what was not asked for or cannot be passed on.
func granted(o object, wanted, inherited rights, flags fdFlags) access {
	if o.fileType() == typeDirectory {
		return access{base: rightsDir & inherited, inheriting: inherited, flags: flags &^ (flagAppend | flagNonblock)}
	}
	mask := rightsFile
	if wanted&rightFdRead == 0 {
		mask &^= rightFdRead
	}
	if wanted&rightFdWrite == 0 {
		mask &^= rightFdWrite | rightFdAllocate | rightFdFilestatSetSize
	}
	return access{base: mask & inherited, flags: flags}
}
