package wasi

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	sys "github.com/tetratelabs/wazero/experimental/sys"
)

func TestFileOperations(t *testing.T) {
	dir := t.TempDir()
	_, fsys := open(t, "/", Mount{HostPath: dir, GuestPath: "/"})
	expect(t, "mkdir", fsys.Mkdir("d", 0o755), 0)
	expect(t, "mkdir again", fsys.Mkdir("d", 0o755), sys.EEXIST)
	f, errno := fsys.OpenFile("d/f", sys.O_RDWR|sys.O_CREAT|sys.O_EXCL, 0o640)
	if errno != 0 {
		t.Fatal(errno)
	}
	if n, errno := f.Write([]byte("hello world")); n != 11 || errno != 0 {
		t.Errorf("write: %d, %v", n, errno)
	}
	if n, errno := f.Pwrite([]byte("J"), 0); n != 1 || errno != 0 {
		t.Errorf("pwrite: %d, %v", n, errno)
	}
	expect(t, "truncate", f.Truncate(5), 0)
	buf := make([]byte, 20)
	if n, errno := f.Pread(buf, 1); string(buf[:n]) != "ello" || errno != 0 {
		t.Errorf("pread: %q, %v", buf[:n], errno)
	}
	if at, errno := f.Seek(-2, 2); at != 3 || errno != 0 {
		t.Errorf("seek: %d, %v", at, errno)
	}
	if n, errno := f.Read(buf); string(buf[:n]) != "lo" || errno != 0 {
		t.Errorf("read: %q, %v", buf[:n], errno)
	}
	if n, errno := f.Read(buf); n != 0 || errno != 0 {
		t.Errorf("read at the end: %d, %v", n, errno)
	}
	then := time.Unix(1_000_000_000, 123_000).UnixNano()
	expect(t, "times", f.Utimens(sys.UTIME_OMIT, then), 0)
	if st, errno := f.Stat(); st.Mtim != then || st.Atim == then || st.Size != 5 || errno != 0 {
		t.Errorf("stat: %+v, %v", st, errno)
	}
	expect(t, "sync", f.Sync(), 0)
	expect(t, "append", f.SetAppend(true), 0)
	if _, errno := f.Seek(0, 0); errno != 0 || !f.IsAppend() {
		t.Error("append is not on")
	}
	_, _ = f.Write([]byte("!"))
	expect(t, "close", f.Close(), 0)
	if text, _ := readAll(t, fsys, "d/f"); text != "Jello!" {
		t.Errorf("the file has %q", text)
	}

	expect(t, "link", fsys.Link("d/f", "hard"), 0)
	expect(t, "rename", fsys.Rename("d/f", "g"), 0)
	expect(t, "unlink a directory", fsys.Unlink("d"), sys.EISDIR)
	expect(t, "rmdir a file", fsys.Rmdir("g"), sys.ENOTDIR)
	expect(t, "unlink", fsys.Unlink("g"), 0)
	expect(t, "unlink what is gone", fsys.Unlink("g"), sys.ENOENT)
	expect(t, "chmod", fsys.Chmod("hard", 0o600), 0)
	write(t, filepath.Join(dir, "d", "x"), "")
	expect(t, "rmdir of a full one", fsys.Rmdir("d"), sys.ENOTEMPTY)
	expect(t, "unlink in it", fsys.Unlink("d/x"), 0)
	expect(t, "rmdir", fsys.Rmdir("d"), 0)
	expect(t, "utimens", fsys.Utimens("hard", then, then), 0)
	if st, errno := fsys.Stat("hard"); st.Mtim != then || errno != 0 {
		t.Errorf("stat: %+v, %v", st, errno)
	}
}

func TestDirectories(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		write(t, filepath.Join(dir, n), n)
	}
	_, fsys := open(t, "/", Mount{HostPath: dir, GuestPath: "/"})
	got := names(t, fsys, ".")
	slices.Sort(got)
	if want := []string{"a", "b", "c", "d", "e"}; !reflect.DeepEqual(got, want) {
		t.Errorf("names %v, want %v", got, want)
	}
	f, _ := fsys.OpenFile("/", sys.O_RDONLY, 0)
	defer f.Close()
	if isDir, errno := f.IsDir(); !isDir || errno != 0 {
		t.Errorf("the root is no directory: %v", errno)
	}
	first, _ := f.Readdir(-1)
	_, _ = f.Seek(0, 0)
	if again, _ := f.Readdir(-1); len(first) != 5 || len(again) != 5 {
		t.Errorf("%d entries, and %d after rewinding, want 5", len(first), len(again))
	}
	if _, errno := f.Read(make([]byte, 1)); errno != sys.EISDIR {
		t.Errorf("reading a directory: %v", errno)
	}
}

func TestSingleFiles(t *testing.T) {
	top := t.TempDir()
	write(t, filepath.Join(top, "volume", "..v1", "key"), "one")
	if err := os.Symlink("..v1", filepath.Join(top, "volume", "..data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..data/key", filepath.Join(top, "volume", "key")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(top, "volume", "neighbour"), "hidden")
	write(t, filepath.Join(top, "base", "app.json"), "shadowed")
	write(t, filepath.Join(top, "base", "other"), "other")
	mounts := []Mount{
		{HostPath: filepath.Join(top, "volume", "key"), GuestPath: "/etc/app/app.json", ReadOnly: true},
		{HostPath: filepath.Join(top, "base"), GuestPath: "/etc/app"},
		{HostPath: filepath.Join(top, "base", "other"), GuestPath: "/single/renamed"},
	}
	_, over := open(t, "/etc/app", mounts...)
	if text, errno := readAll(t, over, "app.json"); text != "one" || errno != 0 {
		t.Errorf("the mounted file reads %q, %v", text, errno)
	}
	if got := names(t, over, "."); !reflect.DeepEqual(got, []string{"app.json", "other"}) {
		t.Errorf("names %v", got)
	}
	expect(t, "remove a mounted file", over.Unlink("app.json"), sys.EPERM)
	expect(t, "move over a mounted file", over.Rename("other", "./app.json"), sys.EPERM)
	_, errno := over.OpenFile("app.json", sys.O_RDWR, 0)
	expect(t, "write a read-only one", errno, sys.EROFS)

	_, alone := open(t, "/single", mounts...)
	if got := names(t, alone, "."); !reflect.DeepEqual(got, []string{"renamed"}) {
		t.Errorf("names %v", got)
	}
	for _, p := range []string{"neighbour", "other", "app.json", "../base/other", "renamed/x"} {
		if _, errno := readAll(t, alone, p); errno == 0 {
			t.Errorf("%s can be read beside a single file", p)
		}
	}
	_, errno = alone.OpenFile("new", sys.O_RDWR|sys.O_CREAT, 0o600)
	expect(t, "create beside a single file", errno, sys.EROFS)
	expect(t, "mkdir beside a single file", alone.Mkdir("d", 0o755), sys.EROFS)
	f, errno := alone.OpenFile("renamed", sys.O_RDWR|sys.O_TRUNC, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	_, _ = f.Write([]byte("new"))
	_ = f.Close()
	if b, _ := os.ReadFile(filepath.Join(top, "base", "other")); string(b) != "new" {
		t.Errorf("on the host: %q", b)
	}
}

func TestLedger(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), "")
	tree, fsys := open(t, "/", Mount{HostPath: dir, GuestPath: "/"})
	var files []sys.File
	for range MaxOpenFiles {
		f, errno := fsys.OpenFile("f", sys.O_RDONLY, 0)
		if errno != 0 {
			t.Fatalf("after %d files: %v", len(files), errno)
		}
		files = append(files, f)
	}
	if _, errno := fsys.OpenFile("f", sys.O_RDONLY, 0); errno == 0 {
		t.Error("there is no limit on open files")
	}
	_ = files[0].Close()
	if _, errno := fsys.OpenFile("f", sys.O_RDONLY, 0); errno != 0 {
		t.Errorf("after one was closed: %v", errno)
	}
	if n := tree.OpenFiles(); n != MaxOpenFiles {
		t.Errorf("%d files are open", n)
	}
	if err := tree.Close(); err != nil {
		t.Error(err)
	}
	if _, errno := files[1].Read(make([]byte, 1)); errno != sys.EBADF {
		t.Errorf("a file left open can be read after Close: %v", errno)
	}
	if _, errno := fsys.OpenFile("f", sys.O_RDONLY, 0); errno == 0 {
		t.Error("a file can be opened after Close")
	}
}

func TestMountValidate(t *testing.T) {
	dir := t.TempDir()
	bad := map[string][]Mount{
		"relative host":  {{HostPath: "x", GuestPath: "/x"}},
		"relative guest": {{HostPath: dir, GuestPath: "x"}},
		"unclean guest":  {{HostPath: dir, GuestPath: "/a/../b"}},
		"twice":          {{HostPath: dir, GuestPath: "/a"}, {HostPath: dir, GuestPath: "/a"}},
		"missing":        {{HostPath: filepath.Join(dir, "nothing"), GuestPath: "/a"}},
		"too many":       make([]Mount, MaxMounts+1),
	}
	for name, mounts := range bad {
		if tree, err := Open(mounts); err == nil {
			_ = tree.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}
