package wasi

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// jailWithASecret makes a mounted directory beside a secret that must stay out of reach.
func jailWithASecret(t *testing.T) (dir, secret string) {
	t.Helper()
	top := t.TempDir()
	dir, secret = filepath.Join(top, "jail"), filepath.Join(top, "secret")
	put(t, secret, "secret")
	put(t, filepath.Join(dir, "inside"), "inside")
	put(t, filepath.Join(dir, "sub", "deep"), "deep")
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

func TestNothingLeadsOut(t *testing.T) {
	dir, secret := jailWithASecret(t)
	w := newWorld(t, Config{Mounts: []Mount{{HostPath: dir, GuestPath: "/data"}}})
	escapes := []string{
		"abs", "rel", "chain", "sub/over", "up/secret", "../secret", "sub/../../secret", secret, "/etc/passwd",
		"root/etc/passwd", "sub/../../jail/../secret", "./../secret", "up/jail/../secret",
	}
	for _, p := range escapes {
		if text, errno := w.text(3, p); errno == 0 {
			t.Errorf("%s reads %q", p, text)
		}
		if _, errno := w.statPath(3, p, lookupFollow); errno == 0 {
			t.Errorf("%s can be looked at", p)
		}
		if _, errno := w.open(3, p, openTruncate, readWrite, 0); errno == 0 {
			t.Errorf("%s can be written", p)
		}
		if errno := w.call("path_filestat_set_times", 3, lookupFollow, p, uint64(0), uint64(0), setMtim); errno == 0 {
			t.Errorf("%s: its times can be changed", p)
		}
	}
	for _, p := range []string{"../new", "up/new", "rel/new", "root/tmp/petrel-escape"} {
		if errno := w.call("path_create_directory", 3, p); errno == 0 {
			t.Errorf("mkdir %s works", p)
		}
		if _, errno := w.open(3, p, openCreate, readWrite, 0); errno == 0 {
			t.Errorf("creating %s works", p)
		}
		if errno := w.call("path_rename", 3, "inside", 3, p); errno == 0 {
			t.Errorf("moving to %s works", p)
		}
		if errno := w.call("path_link", 3, 0, "inside", 3, p); errno == 0 {
			t.Errorf("linking to %s works", p)
		}
		if errno := w.call("path_symlink", "inside", 3, p); errno == 0 {
			t.Errorf("symlinking at %s works", p)
		}
	}
	sub, errno := w.open(3, "sub", openDirectory, rightFdReaddir, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range []string{"../../secret", "over", "../inside", "back"} {
		if text, errno := w.text(sub, p); errno == 0 {
			t.Errorf("%s reads %q from a subdirectory", p, text)
		}
		if errno := w.call("path_rename", sub, p+"/../x", 3, "mine"); errno == 0 {
			t.Errorf("moving %s/../x from a subdirectory works", p)
		}
	}
	for _, name := range []string{"path_rename", "path_link"} {
		params := []any{3, "../secret", 3, "mine"}
		if name == "path_link" {
			params = []any{3, 0, "../secret", 3, "mine"}
		}
		if errno := w.call(name, params...); errno == 0 {
			t.Errorf("%s brings the secret in", name)
		}
	}
	if errno := w.call("path_unlink_file", 3, "up/secret"); errno == 0 {
		t.Error("the secret can be removed")
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" {
		t.Errorf("the secret is %q, %v", b, err)
	}
	for p, want := range map[string]string{"good": "inside", "sub/back": "inside", "sub/deep": "deep", "sub/../inside": "inside"} {
		if text, errno := w.text(3, p); errno != 0 || text != want {
			t.Errorf("%s reads %q, %d", p, text, errno)
		}
	}
}

func TestLinksThatLeadOutAreNotMade(t *testing.T) {
	dir, secret := jailWithASecret(t)
	w := newWorld(t, Config{Mounts: []Mount{{HostPath: dir, GuestPath: "/"}}})
	for _, target := range []string{secret, "/etc/passwd", "../secret", "sub/../../secret", ".."} {
		w.want("path_symlink", ErrnoPerm, target, 3, "new")
	}
	w.want("path_symlink", ErrnoPerm, "../../secret", 3, "sub/new")
	w.want("path_symlink", 0, "../inside", 3, "sub/new")
	if text, errno := w.text(3, "sub/new"); text != "inside" || errno != 0 {
		t.Errorf("through it: %q, %d", text, errno)
	}
	w.want("path_readlink", 0, 3, "sub/new", atBuffer, 100, atResult)
	if got := string(w.mem[atBuffer:][:w.result()]); got != "../inside" {
		t.Errorf("readlink: %q", got)
	}
	w.want("path_readlink", 0, 3, "sub/new", atBuffer, 2, atResult)
	if w.result() != 2 {
		t.Errorf("cut to %d bytes", w.result())
	}
	if st, errno := w.statPath(3, "sub/new", 0); st.kind != typeSymlink || errno != 0 {
		t.Errorf("lstat: %d, %d", st.kind, errno)
	}
	w.want("path_filestat_set_times", 0, 3, 0, "sub/new", uint64(0), uint64(5_000_000_000), setMtim)
	if st, _ := w.statPath(3, "sub/new", 0); st.mtim != 5_000_000_000 {
		t.Errorf("the link's own time is %d", st.mtim)
	}
	if st, _ := w.statPath(3, "sub/new", lookupFollow); st.mtim == 5_000_000_000 {
		t.Error("the target's time was set")
	}
	w.want("path_open", ErrnoLoop, 3, 0, "sub/new", 0, readOnly, uint64(0), 0, atResult)
	if _, errno := w.statPath(3, "loop", lookupFollow); errno != ErrnoLoop && errno != ErrnoPerm {
		t.Errorf("an endless link: %d", errno)
	}
	// A link that is moved to where it would lead out leads nowhere.
	w.want("path_rename", 0, 3, "sub/new", 3, "moved")
	if text, errno := w.text(3, "moved"); errno == 0 {
		t.Errorf("a moved link reads %q", text)
	}
}

// Somebody swaps a directory for a link that leads out, again and again, while the guest opens what is below.
func TestRacingSwaps(t *testing.T) {
	dir, _ := jailWithASecret(t)
	put(t, filepath.Join(dir, "..", "outside", "deep"), "secret")
	w := newWorld(t, Config{Mounts: []Mount{{HostPath: dir, GuestPath: "/"}}})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		at, real, link := filepath.Join(dir, "swap"), filepath.Join(dir, "sub"), filepath.Join(dir, "evil")
		_ = os.Symlink("../outside", link)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(real, at)
			_ = os.Rename(at, real)
			_ = os.Rename(link, at)
			_ = os.Rename(at, link)
		}
	})
	for range 3000 {
		if text, errno := w.text(3, "swap/deep"); errno == 0 && text != "deep" {
			t.Fatalf("it read %q", text)
		}
	}
	close(stop)
	wg.Wait()
}

// A FIFO would block the guest, and a device is not a file.
func TestOnlyFilesAndDirectoriesOpen(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Config{Mounts: []Mount{{HostPath: dir, GuestPath: "/"}}})
	for _, rights := range []rights{readOnly, readWrite} {
		if _, errno := w.open(3, "fifo", 0, rights, 0); errno != ErrnoPerm {
			t.Errorf("a FIFO opens: %d", errno)
		}
	}
	if _, errno := w.open(3, "fifo", openDirectory, readOnly, 0); errno != ErrnoNotDir {
		t.Errorf("a FIFO opens as a directory: %d", errno)
	}
	for _, host := range []string{fifo, "/dev/null"} {
		if s, err := New(Config{Mounts: []Mount{{HostPath: host, GuestPath: "/x"}}}); err == nil {
			_ = s.Close()
			t.Errorf("%s can be mounted", host)
		}
	}
}

func TestReadOnlyMounts(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "f"), "text")
	put(t, filepath.Join(dir, "d", "g"), "text")
	w := newWorld(t, Config{Mounts: []Mount{{HostPath: dir, GuestPath: "/ro", ReadOnly: true}, {HostPath: dir, GuestPath: "/rw"}}})
	const ro, rw = 3, 4
	for name, open := range map[string]struct {
		flags  openFlags
		rights rights
	}{"write": {0, rightFdWrite}, "both": {0, readWrite}, "truncate": {openTruncate, readOnly}, "create": {openCreate, readOnly}} {
		if _, errno := w.open(ro, "f", open.flags, open.rights, 0); errno != ErrnoRofs {
			t.Errorf("%s: %d", name, errno)
		}
	}
	if _, errno := w.open(ro, "f", openCreate|openExclusive, readWrite, 0); errno != ErrnoExist {
		t.Errorf("create what is there: %d", errno)
	}
	if _, errno := w.open(ro, "nothing", 0, readWrite, 0); errno != ErrnoNoEnt {
		t.Errorf("write what is not there: %d", errno)
	}
	w.want("path_create_directory", ErrnoRofs, ro, "new")
	w.want("path_rename", ErrnoRofs, ro, "f", ro, "h")
	w.want("path_remove_directory", ErrnoRofs, ro, "d")
	w.want("path_unlink_file", ErrnoRofs, ro, "f")
	w.want("path_link", ErrnoRofs, ro, 0, "f", ro, "h")
	w.want("path_symlink", ErrnoRofs, "f", ro, "h")
	w.want("path_filestat_set_times", ErrnoRofs, ro, 1, "f", uint64(0), uint64(0), setMtim)
	f, errno := w.open(ro, "f", 0, readOnly, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	w.want("fd_filestat_set_times", ErrnoRofs, f, uint64(0), uint64(0), setMtim)
	// The same directory is mounted to be written, too: no link leads from one to the other.
	w.want("path_link", ErrnoXdev, ro, 0, "f", rw, "h")
	w.want("path_rename", ErrnoXdev, ro, "f", rw, "h")
	w.want("path_rename", ErrnoXdev, rw, "f", ro, "h")
	w.want("fd_filestat_get", 0, f, atBuffer)
	if st := w.filestat(); st.size != 4 || st.nlink != 1 {
		t.Errorf("the file was changed: %+v", st)
	}
	sub, _ := w.open(ro, "d", openDirectory, rightFdReaddir, 0)
	w.want("path_unlink_file", ErrnoRofs, sub, "g")
}
