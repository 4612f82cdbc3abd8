package wasi

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	sys "github.com/tetratelabs/wazero/experimental/sys"
)

// jailWithSecret makes a mounted directory beside a secret that must stay out of reach.
func jailWithSecret(t *testing.T) (dir, secret string) {
	t.Helper()
	top := t.TempDir()
	dir, secret = filepath.Join(top, "jail"), filepath.Join(top, "secret")
	write(t, secret, "secret")
	write(t, filepath.Join(dir, "inside"), "inside")
	write(t, filepath.Join(dir, "sub", "deep"), "deep")
	for link, target := range map[string]string{
		"abs": secret, "rel": "../secret", "up": "..", "chain": "rel", "sub/over": "../../secret",
		"good": "inside", "sub/back": "../inside", "loop": "loop", "root": "/",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, secret
}

func TestNoPathLeadsOut(t *testing.T) {
	dir, secret := jailWithSecret(t)
	_, fsys := open(t, "/data", Mount{HostPath: dir, GuestPath: "/data"})
	escapes := []string{
		"abs", "rel", "chain", "sub/over", "up/secret", "../secret", "sub/../../secret", secret, "/etc/passwd",
		"root/etc/passwd", "sub/../../jail/../secret", "./../secret", "up/jail/../secret",
	}
	for _, p := range escapes {
		if text, errno := readAll(t, fsys, p); errno == 0 {
			t.Errorf("%s reads %q", p, text)
		}
		if _, errno := fsys.Stat(p); errno == 0 {
			t.Errorf("%s can be looked at", p)
		}
		if _, errno := fsys.OpenFile(p, sys.O_RDWR|sys.O_TRUNC, 0); errno == 0 {
			t.Errorf("%s can be written", p)
		}
		if errno := fsys.Chmod(p, 0o777); errno == 0 {
			t.Errorf("%s: its mode can be changed", p)
		}
		if errno := fsys.Utimens(p, 0, 0); errno == 0 {
			t.Errorf("%s: its times can be changed", p)
		}
	}
	for _, p := range []string{"../new", "up/new", "rel/new", "root/tmp/petrel-escape"} {
		if errno := fsys.Mkdir(p, 0o755); errno == 0 {
			t.Errorf("mkdir %s works", p)
		}
		if _, errno := fsys.OpenFile(p, sys.O_RDWR|sys.O_CREAT, 0o600); errno == 0 {
			t.Errorf("creating %s works", p)
		}
		if errno := fsys.Rename("inside", p); errno == 0 {
			t.Errorf("moving to %s works", p)
		}
		if errno := fsys.Link("inside", p); errno == 0 {
			t.Errorf("linking to %s works", p)
		}
		if errno := fsys.Symlink("inside", p); errno == 0 {
			t.Errorf("symlinking at %s works", p)
		}
	}
	if errno := fsys.Rename("../secret", "mine"); errno == 0 {
		t.Error("the secret can be moved in")
	}
	if errno := fsys.Link("../secret", "mine"); errno == 0 {
		t.Error("the secret can be linked in")
	}
	if errno := fsys.Unlink("up/secret"); errno == 0 {
		t.Error("the secret can be removed")
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" {
		t.Errorf("the secret is %q, %v", b, err)
	}
	for p, want := range map[string]string{"good": "inside", "sub/back": "inside", "sub/deep": "deep", "sub/../inside": "inside"} {
		if text, errno := readAll(t, fsys, p); errno != 0 || text != want {
			t.Errorf("%s reads %q, %v", p, text, errno)
		}
	}
}

func TestSymlinksThatLeadOutAreNotMade(t *testing.T) {
	dir, secret := jailWithSecret(t)
	_, fsys := open(t, "/", Mount{HostPath: dir, GuestPath: "/"})
	for _, target := range []string{secret, "/etc/passwd", "../secret", "sub/../../secret", ".."} {
		expect(t, "symlink to "+target, fsys.Symlink(target, "new"), sys.EPERM)
	}
	expect(t, "symlink out of a subdirectory", fsys.Symlink("../../secret", "sub/new"), sys.EPERM)
	expect(t, "symlink inside", fsys.Symlink("../inside", "sub/new"), 0)
	if text, errno := readAll(t, fsys, "sub/new"); text != "inside" || errno != 0 {
		t.Errorf("through it: %q, %v", text, errno)
	}
	if target, errno := fsys.Readlink("sub/new"); target != "../inside" || errno != 0 {
		t.Errorf("readlink: %q, %v", target, errno)
	}
	isMode(t, fsys, "sub/new", fs.ModeSymlink)
	_, errno := fsys.OpenFile("sub/new", sys.O_RDONLY|sys.O_NOFOLLOW, 0)
	expect(t, "open without following", errno, sys.ELOOP)
	if _, errno := fsys.Stat("loop"); errno == 0 {
		t.Error("an endless link can be followed")
	}
}

// A FIFO would block the guest, and a device is not a file.
func TestOnlyFilesAndDirectories(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	_, fsys := open(t, "/", Mount{HostPath: dir, GuestPath: "/"})
	if _, errno := fsys.OpenFile("fifo", sys.O_RDONLY, 0); errno != sys.EPERM {
		t.Errorf("a FIFO opens: %v", errno)
	}
	if _, errno := fsys.OpenFile("fifo", sys.O_RDWR, 0); errno != sys.EPERM {
		t.Errorf("a FIFO opens for writing: %v", errno)
	}
	for _, host := range []string{fifo, "/dev/null"} {
		if tree, err := Open([]Mount{{HostPath: host, GuestPath: "/x"}}); err == nil {
			_ = tree.Close()
			t.Errorf("%s can be mounted", host)
		}
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), "text")
	write(t, filepath.Join(dir, "d", "g"), "text")
	_, fsys := open(t, "/ro", Mount{HostPath: dir, GuestPath: "/ro", ReadOnly: true})
	for name, flag := range map[string]sys.Oflag{
		"write": sys.O_WRONLY, "read and write": sys.O_RDWR, "truncate": sys.O_TRUNC, "append": sys.O_APPEND, "create": sys.O_CREAT,
	} {
		_, errno := fsys.OpenFile("f", flag, 0o600)
		expect(t, name, errno, sys.EROFS)
	}
	expect(t, "mkdir", fsys.Mkdir("new", 0o755), sys.EROFS)
	expect(t, "chmod", fsys.Chmod("f", 0o600), sys.EROFS)
	expect(t, "rename", fsys.Rename("f", "h"), sys.EROFS)
	expect(t, "rmdir", fsys.Rmdir("d"), sys.EROFS)
	expect(t, "unlink", fsys.Unlink("f"), sys.EROFS)
	expect(t, "link", fsys.Link("f", "h"), sys.EROFS)
	expect(t, "symlink", fsys.Symlink("f", "h"), sys.EROFS)
	expect(t, "utimens", fsys.Utimens("f", 0, 0), sys.EROFS)
	f, errno := fsys.OpenFile("f", sys.O_RDONLY, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer f.Close()
	expect(t, "truncate the open file", f.Truncate(0), sys.EROFS)
	expect(t, "times of the open file", f.Utimens(0, 0), sys.EROFS)
	if _, errno := f.Write([]byte("x")); errno == 0 {
		t.Error("a file opened for reading can be written")
	}
}
