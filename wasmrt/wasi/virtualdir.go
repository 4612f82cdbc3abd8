package wasi

import (
	"io/fs"

	sys "github.com/tetratelabs/wazero/experimental/sys"
	wsys "github.com/tetratelabs/wazero/sys"
)

// virtualDir is the directory of single files that has none of the host behind it.
type virtualDir struct {
	sys.DirFile
	names []sys.Dirent
	pos   int
}

func virtualStat() wsys.Stat_t {
	return wsys.Stat_t{Mode: fs.ModeDir | 0o555, Nlink: 1}
}

func (v *virtualDir) Dev() (uint64, sys.Errno)       { return 0, 0 }
func (v *virtualDir) Ino() (wsys.Inode, sys.Errno)   { return 0, 0 }
func (v *virtualDir) Stat() (wsys.Stat_t, sys.Errno) { return virtualStat(), 0 }
func (v *virtualDir) Sync() sys.Errno                { return 0 }
func (v *virtualDir) Datasync() sys.Errno            { return 0 }
func (v *virtualDir) Utimens(int64, int64) sys.Errno { return sys.EROFS }
func (v *virtualDir) Close() sys.Errno               { return 0 }
func (v *virtualDir) SetAppend(bool) sys.Errno       { return sys.EISDIR }
func (v *virtualDir) Seek(to offset, whence int) (int64, sys.Errno) {
	if to != 0 || whence != 0 {
		return 0, sys.EISDIR
	}
	v.pos = 0
	return 0, 0
}

func (v *virtualDir) Readdir(n int) ([]sys.Dirent, sys.Errno) {
	rest := v.names[v.pos:]
	if n > 0 && n < len(rest) {
		rest = rest[:n]
	}
	v.pos += len(rest)
	return rest, 0
}
