package wasi

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// text opens a file below a directory and reads it.
func (w *world) text(dir uint32, path string) (string, Errno) {
	w.t.Helper()
	fd, errno := w.open(dir, path, 0, readOnly, 0)
	if errno != 0 {
		return "", errno
	}
	defer w.call("fd_close", fd)
	return w.read(fd, 4000)
}

func (w *world) statPath(dir uint32, path string, follow int) (filestat, Errno) {
	w.t.Helper()
	errno := w.call("path_filestat_get", dir, follow, path, atBuffer)
	return w.filestat(), errno
}

func (w *world) filestat() filestat {
	b := w.mem[atBuffer:]
	return filestat{dev: le.Uint64(b), ino: le.Uint64(b[8:]), kind: fileType(b[16]), nlink: le.Uint64(b[24:]), size: le.Uint64(b[32:]),
		atim: int64(le.Uint64(b[40:])), mtim: int64(le.Uint64(b[48:])), ctim: int64(le.Uint64(b[56:]))}
}

// parseDirents reads the whole entries of a buffer.
func parseDirents(b []byte) (names []string, cookies []uint64) {
	for len(b) >= direntSize {
		n := int(le.Uint32(b[16:]))
		if len(b) < direntSize+n {
			break
		}
		names = append(names, string(b[direntSize:][:n]))
		cookies = append(cookies, le.Uint64(b))
		b = b[direntSize+n:]
	}
	return names, cookies
}

// entries lists a directory from a cookie on, in pieces, as a guest with a small buffer does.
func (w *world) entries(fd uint32, size int, cookie uint64) (names []string, cookies []uint64) {
	w.t.Helper()
	for {
		if errno := w.call("fd_readdir", fd, atBuffer, size, cookie, atResult); errno != 0 {
			w.t.Fatalf("fd_readdir: %d", errno)
		}
		used := int(w.result())
		n, c := parseDirents(w.mem[atBuffer:][:used])
		names, cookies = append(names, n...), append(cookies, c...)
		switch {
		case used < size:
			return names, cookies
		case len(c) == 0:
			w.t.Fatal("the buffer is too small for one entry")
		}
		cookie = c[len(c)-1]
	}
}

// names are the entries without the two dots.
func (w *world) names(fd uint32, size int) []string {
	w.t.Helper()
	names, _ := w.entries(fd, size, 0)
	return slices.DeleteFunc(names, func(name string) bool { return name == "." || name == ".." })
}

// testFiles is what both file systems must do.
func testFiles(t *testing.T, w *world, dir uint32) {
	t.Helper()
	w.want("path_create_directory", 0, dir, "d")
	w.want("path_create_directory", ErrnoExist, dir, "d/")
	f, errno := w.open(dir, "d/f", openCreate|openExclusive, readWrite, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	if _, errno := w.open(dir, "d/f", openCreate|openExclusive, readWrite, 0); errno != ErrnoExist {
		t.Errorf("open it anew: %d", errno)
	}
	_, _ = w.write(f, "hello world")
	w.vector(atBuffer, 1)
	w.mem[atBuffer] = 'J'
	w.want("fd_pwrite", 0, f, atVector, 1, uint64(0), atResult)
	w.want("fd_tell", 0, f, atResult)
	if at := w.result64(); at != 11 {
		t.Errorf("it is at %d", at)
	}
	w.want("fd_filestat_set_size", 0, f, uint64(5))
	w.vector(atBuffer, 20)
	w.want("fd_pread", 0, f, atVector, 1, uint64(1), atResult)
	if got := string(w.mem[atBuffer:][:w.result()]); got != "ello" {
		t.Errorf("pread: %q", got)
	}
	w.want("fd_seek", 0, f, ^uint64(1), whenceEnd, atResult)
	if text, errno := w.read(f, 20); text != "lo" || errno != 0 {
		t.Errorf("read: %q, %d", text, errno)
	}
	if text, errno := w.read(f, 20); text != "" || errno != 0 {
		t.Errorf("read at the end: %q, %d", text, errno)
	}
	w.want("fd_seek", ErrnoInval, f, ^uint64(100), whenceSet, atResult)
	w.want("fd_seek", ErrnoInval, f, uint64(0), 9, atResult)
	w.want("fd_pread", ErrnoInval, f, atVector, 1, ^uint64(0), atResult)
	const then = 1_000_000_000_000_123_000
	w.want("fd_filestat_set_times", 0, f, uint64(1), uint64(then), setMtim)
	w.want("fd_filestat_set_times", ErrnoInval, f, uint64(1), uint64(then), setMtim|setMtimNow)
	w.want("fd_filestat_get", 0, f, atBuffer)
	if st := w.filestat(); st.mtim != then || st.atim == 1 || st.size != 5 || st.kind != typeRegular || st.nlink != 1 {
		t.Errorf("stat: %+v", st)
	}
	w.want("fd_sync", 0, f)
	w.want("fd_datasync", 0, f)
	w.want("fd_advise", 0, f, uint64(0), uint64(5), 2)
	w.want("fd_allocate", 0, f, uint64(0), uint64(8))
	w.want("fd_filestat_set_size", 0, f, uint64(5))
	w.want("fd_fdstat_set_flags", 0, f, int(flagAppend))
	w.want("fd_seek", 0, f, uint64(0), whenceSet, atResult)
	_, _ = w.write(f, "!")
	w.want("fd_tell", 0, f, atResult)
	if at := w.result64(); at != 6 {
		t.Errorf("after appending it is at %d", at)
	}
	w.want("fd_fdstat_set_flags", 0, f, 0)
	w.want("fd_seek", 0, f, uint64(0), whenceSet, atResult)
	_, _ = w.write(f, "j")
	if text, _ := w.text(dir, "d/f"); text != "jello!" {
		t.Errorf("the file has %q", text)
	}

	w.want("path_rename", 0, dir, "d/f", dir, "g")
	w.want("path_unlink_file", ErrnoIsDir, dir, "d")
	w.want("path_remove_directory", ErrnoNotDir, dir, "g")
	w.want("path_remove_directory", ErrnoInval, dir, ".")
	w.want("path_unlink_file", ErrnoNotDir, dir, "g/")
	w.want("path_unlink_file", ErrnoNoEnt, dir, "nothing")
	if _, errno := w.open(dir, "d/x", openCreate, readWrite, 0); errno != 0 {
		t.Error(errno)
	}
	w.want("path_remove_directory", ErrnoNotEmpty, dir, "d")
	sub, errno := w.open(dir, "d", openDirectory, rightFdReaddir, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	w.want("path_rename", 0, sub, "x", dir, "up")
	w.want("path_rename", 0, dir, "up", sub, "x")
	if got := w.names(sub, 200); !slices.Equal(got, []string{"x"}) {
		t.Errorf("the subdirectory has %v", got)
	}
	w.want("path_rename", ErrnoPerm, sub, "x", sub, "../y")
	w.want("path_rename", ErrnoInval, dir, "d", dir, "d/itself")
	w.want("path_rename", ErrnoNotDir, sub, "x", sub, "y/")
	w.want("path_create_directory", 0, dir, "empty")
	w.want("path_rename", 0, dir, "d", dir, "empty/") // an empty directory is replaced
	w.want("path_create_directory", 0, dir, "d")
	w.want("path_rename", ErrnoNotEmpty, dir, "d", dir, "empty")
	w.want("path_rename", 0, sub, "x", dir, "d/x")
	w.want("path_unlink_file", 0, dir, "d/x")
	w.want("path_remove_directory", 0, dir, "empty")
	w.want("path_remove_directory", 0, dir, "d")
	w.want("path_unlink_file", 0, dir, "g")
	if text, errno := w.read(f, 10); text != "ello!" || errno != 0 {
		t.Errorf("what was unlinked reads %q, %d", text, errno)
	}
	w.want("path_filestat_set_times", ErrnoNoEnt, dir, 1, "g", uint64(1), uint64(1), setMtim)
	if _, errno := w.open(dir, ".", 0, readWrite, 0); errno != ErrnoIsDir {
		t.Errorf("writing to a directory: %d", errno)
	}
	if _, errno := w.read(dir, 1); errno != ErrnoNotCapable && errno != ErrnoIsDir {
		t.Errorf("reading a directory: %d", errno)
	}
	if _, errno := w.open(dir, "a\x00b", 0, readOnly, 0); errno != ErrnoInval {
		t.Errorf("a zero byte: %d", errno)
	}
	if _, errno := w.open(dir, "", 0, readOnly, 0); errno != ErrnoNoEnt {
		t.Errorf("an empty path: %d", errno)
	}
	if _, errno := w.open(dir, strings.Repeat("x", 300), 0, readOnly, 0); errno != ErrnoNameTooLong {
		t.Errorf("a long name: %d", errno)
	}
	if _, errno := w.open(dir, strings.Repeat("x/", 3000), 0, readOnly, 0); errno != ErrnoNameTooLong {
		t.Errorf("a long path: %d", errno)
	}
}

// testListing makes many files and lists them while they go.
func testListing(t *testing.T, w *world, dir uint32) {
	t.Helper()
	var want []string
	for i := range 100 {
		name := "file" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26))
		fd, errno := w.open(dir, name, openCreate, readWrite, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		w.want("fd_close", 0, fd)
		want = append(want, name)
	}
	slices.Sort(want)
	for _, size := range []int{60, 100, 1000, 100_000} {
		got := w.names(dir, size)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("with a buffer of %d: %d names %v", size, len(got), got)
		}
	}
	// Whatever cookie one goes back to, the same entries follow.
	all, cookies := w.entries(dir, 200, 0)
	for i := len(all) - 1; i >= 0; i -= 7 {
		if again, _ := w.entries(dir, 300, cookies[i]); !slices.Equal(again, all[i+1:]) {
			t.Errorf("behind entry %d: %v, want %v", i, again, all[i+1:])
		}
	}
	if none, _ := w.entries(dir, 300, 1<<40); len(none) != 0 {
		t.Errorf("behind the end: %v", none)
	}
	// What is removed while the list is read hides nothing.
	cookie, left := uint64(0), len(want)
	for {
		w.want("fd_readdir", 0, dir, atBuffer, 150, cookie, atResult)
		names, cookies := parseDirents(w.mem[atBuffer:][:w.result()])
		if len(names) == 0 {
			break
		}
		cookie = cookies[len(cookies)-1]
		for _, name := range names {
			if name != "." && name != ".." {
				w.want("path_unlink_file", 0, dir, name)
				left--
			}
		}
	}
	if left != 0 {
		t.Errorf("%d entries were not listed", left)
	}
}

func TestHostFiles(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, Config{Mounts: []Mount{{HostPath: dir, GuestPath: "/"}}})
	testFiles(t, w, 3)
	testListing(t, w, 3)

	f, _ := w.open(3, "f", openCreate, readWrite, 0)
	w.want("path_link", 0, 3, 0, "f", 3, "hard")
	w.want("path_create_directory", 0, 3, "d")
	sub, _ := w.open(3, "d", openDirectory, rightFdReaddir, 0)
	w.want("path_link", 0, 3, 0, "f", sub, "hard")
	w.want("fd_filestat_get", 0, f, atBuffer)
	if st := w.filestat(); st.nlink != 3 {
		t.Errorf("the file has %d names", st.nlink)
	}
}

func TestScratchFiles(t *testing.T) {
	w := newWorld(t, Config{})
	w.want("fd_prestat_get", 0, 3, atResult)
	w.want("fd_prestat_dir_name", 0, 3, atBuffer, 4)
	w.want("fd_prestat_dir_name", ErrnoNameTooLong, 3, atBuffer, 3)
	if name := string(w.mem[atBuffer:][:4]); name != ScratchPath {
		t.Errorf("the scratch directory is called %q", name)
	}
	testFiles(t, w, 3)
	testListing(t, w, 3)
	w.want("path_symlink", ErrnoNotSup, "x", 3, "y")
	w.Reset()
	if w.ScratchBytes() != 0 || w.scratch.files != 0 {
		t.Errorf("left: %d bytes in %d files", w.ScratchBytes(), w.scratch.files)
	}
}

func TestScratchLimits(t *testing.T) {
	w := newWorld(t, Config{})
	f, errno := w.open(3, "f", openCreate, readWrite, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	w.want("fd_filestat_set_size", ErrnoFbig, f, uint64(MaxScratchBytes+1))
	w.want("fd_filestat_set_size", 0, f, uint64(MaxScratchBytes))
	if w.ScratchBytes() != 0 {
		t.Errorf("a hole takes %d bytes", w.ScratchBytes())
	}
	w.want("fd_seek", 0, f, uint64(MaxScratchBytes-2), whenceSet, atResult)
	if n, errno := w.write(f, "abc"); n != 2 || errno != 0 {
		t.Errorf("over the end: %d, %d", n, errno)
	}
	if _, errno := w.write(f, "abc"); errno != ErrnoFbig {
		t.Errorf("beyond the end: %d", errno)
	}
	w.want("fd_allocate", 0, f, uint64(0), uint64(MaxScratchBytes))
	g, _ := w.open(3, "g", openCreate, readWrite, 0)
	if _, errno := w.write(g, "x"); errno != ErrnoNoSpc {
		t.Errorf("a second file: %d", errno)
	}
	w.want("path_unlink_file", 0, 3, "f")
	if _, errno := w.write(g, "x"); errno != ErrnoNoSpc {
		t.Errorf("while the first is open: %d", errno)
	}
	w.want("fd_close", 0, f)
	if n, errno := w.write(g, "x"); n != 1 || errno != 0 {
		t.Errorf("when the first is gone: %d, %d", n, errno)
	}
	for i := range MaxScratchFiles - 1 {
		if errno := w.call("path_create_directory", 3, "d"+string(rune(0x4e00+i))); errno != 0 {
			t.Fatalf("directory %d: %d", i, errno)
		}
	}
	w.want("path_create_directory", ErrnoNoSpc, 3, "more")
	w.Reset()
	if len(w.names(3, 1000)) != 0 || w.ScratchBytes() != 0 {
		t.Error("the scratch directory is not empty after a reset")
	}
}

func TestScratchIsCovered(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"/", "/tmp"} {
		w := newWorld(t, Config{Mounts: []Mount{{HostPath: dir, GuestPath: path}}})
		w.want("fd_prestat_get", ErrnoBadf, 4, atResult)
		fd, errno := w.open(3, "f", openCreate, readWrite, 0)
		_, _ = w.write(fd, path)
		if b, _ := os.ReadFile(filepath.Join(dir, "f")); string(b) != path || errno != 0 {
			t.Errorf("%s: the host has %q, %d", path, b, errno)
		}
	}
}

func TestSingleMounts(t *testing.T) {
	top := t.TempDir()
	put(t, filepath.Join(top, "volume", "..v1", "key"), "one")
	for link, target := range map[string]string{"..data": "..v1", "key": "..data/key"} {
		if err := os.Symlink(target, filepath.Join(top, "volume", link)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(top, "volume", "neighbour"), "hidden")
	put(t, filepath.Join(top, "base", "app.json"), "shadowed")
	put(t, filepath.Join(top, "base", "other"), "other")
	w := newWorld(t, Config{Mounts: []Mount{
		{HostPath: filepath.Join(top, "volume", "key"), GuestPath: "/etc/app/app.json", ReadOnly: true},
		{HostPath: filepath.Join(top, "base"), GuestPath: "/etc/app"},
		{HostPath: filepath.Join(top, "base", "other"), GuestPath: "/single/renamed"},
	}})
	const over, alone = 3, 4
	if text, errno := w.text(over, "app.json"); text != "one" || errno != 0 {
		t.Errorf("the mounted file reads %q, %d", text, errno)
	}
	for _, size := range []int{60, 1000} {
		if got := w.names(over, size); !slices.Equal(got, []string{"app.json", "other"}) {
			t.Errorf("names %v", got)
		}
	}
	w.want("path_unlink_file", ErrnoPerm, over, "app.json")
	w.want("path_rename", ErrnoPerm, over, "other", over, "./app.json")
	w.want("path_link", ErrnoExist, over, 0, "other", over, "app.json")
	w.want("path_create_directory", ErrnoExist, over, "app.json")
	if _, errno := w.open(over, "app.json", 0, readWrite, 0); errno != ErrnoRofs {
		t.Errorf("write a read-only one: %d", errno)
	}
	if got := w.names(alone, 1000); !slices.Equal(got, []string{"renamed"}) {
		t.Errorf("names %v", got)
	}
	for _, p := range []string{"neighbour", "other", "app.json", "../base/other", "renamed/x"} {
		if text, errno := w.text(alone, p); errno == 0 {
			t.Errorf("%s reads %q beside a single file", p, text)
		}
	}
	if _, errno := w.open(alone, "new", openCreate, readWrite, 0); errno != ErrnoRofs {
		t.Errorf("create beside a single file: %d", errno)
	}
	w.want("path_create_directory", ErrnoRofs, alone, "d")
	w.want("path_rename", ErrnoXdev, over, "other", 5, "x") // into the scratch directory
	fd, errno := w.open(alone, "renamed", openTruncate, rightFdWrite, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	_, _ = w.write(fd, "new")
	if b, _ := os.ReadFile(filepath.Join(top, "base", "other")); string(b) != "new" {
		t.Errorf("on the host: %q", b)
	}
}

func TestRights(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "f"), "text")
	w := newWorld(t, Config{Mounts: []Mount{{HostPath: dir, GuestPath: "/"}}})
	f, _ := w.open(3, "f", 0, readOnly, 0)
	if _, errno := w.write(f, "x"); errno != ErrnoNotCapable {
		t.Errorf("writing what was opened to read: %d", errno)
	}
	w.want("fd_filestat_set_size", ErrnoNotCapable, f, uint64(0))
	w.want("fd_fdstat_set_rights", ErrnoNotCapable, f, ^uint64(0), uint64(0))
	w.want("fd_fdstat_set_rights", 0, f, rightFdTell, uint64(0))
	if _, errno := w.read(f, 1); errno != ErrnoNotCapable {
		t.Errorf("reading without the right: %d", errno)
	}
	w.want("fd_tell", 0, f, atResult)
	w.want("fd_fdstat_set_rights", 0, 3, rightPathOpen|rightFdReaddir, readOnly)
	if _, errno := w.open(3, "new", openCreate, readOnly, 0); errno != ErrnoNotCapable {
		t.Errorf("creating without the right: %d", errno)
	}
	g, errno := w.open(3, "f", 0, readWrite, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	if _, errno := w.write(g, "x"); errno != ErrnoNotCapable {
		t.Errorf("writing without the inherited right: %d", errno)
	}
	w.want("path_filestat_get", ErrnoNotCapable, 3, 0, "f", atBuffer)
	w.want("path_filestat_get", ErrnoNotDir, f, 0, "f", atBuffer)
}
