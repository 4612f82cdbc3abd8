package stats

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxEntries bounds the files that are looked at below one directory: a pod that makes millions of them must not occupy
// the node with counting.
const maxEntries = 100_000

// blockSize is what Stat_t counts blocks in, whatever the file system's own.
const blockSize = 512

// TreeUse is what the directories take on their own file systems: what is mounted below them is somebody else's, and
// what cannot be looked at is not counted.
func TreeUse(dirs ...string) DiskUse {
	var bytes, inodes uint64
	left := maxEntries
	for _, dir := range dirs {
		var top unix.Stat_t
		if unix.Lstat(dir, &top) != nil {
			continue
		}
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			var st unix.Stat_t
			switch {
			case left <= 0:
				return filepath.SkipAll
			case entry == nil || unix.Lstat(path, &st) != nil:
				return nil
			case st.Dev != top.Dev:
				if entry.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
			left--
			inodes++
			bytes += uint64(st.Blocks) * blockSize
			return nil
		})
	}
	return DiskUse{Bytes: &bytes, Inodes: &inodes}
}
