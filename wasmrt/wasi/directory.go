package wasi

// directory is where paths are looked up. Paths are the guest's, and relative, and never lead out.
type directory interface {
	object
	timed
	// openAt opens a file or a directory.
	openAt(p string, o opening) (object, Errno)
	statAt(p string, follow bool) (filestat, Errno)
	setTimesAt(p string, follow bool, t times) Errno
	mkdir(p string) Errno
	rmdir(p string) Errno
	unlink(p string) Errno
	symlink(target, p string) Errno
	readlink(p string) (string, Errno)
	// rename and link reach into another directory of the same kind.
	rename(from string, to directory, p string) Errno
	link(from string, follow bool, to directory, p string) Errno
	// lister begins to list the entries.
	lister() (lister, Errno)
}

// opening says how a file shall be opened.
type opening struct {
	flags       openFlags
	fd          fdFlags
	read, write bool
	follow      bool
}

// lister lists a directory from any of its own cookies on; 0 is the beginning, where it looks anew.
type lister interface {
	list(cookie uint64, emit func(dirent) bool) Errno
	close()
}

// dirent is an entry of a directory.
type dirent struct {
	next uint64 // the cookie of what follows
	ino  uint64
	name string
	kind fileType
}

// isSelf tells whether a path is a way of naming the directory itself.
func isSelf(p string) bool { return cleanPath(p) == "." }
