package bundle

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tree makes files, and links where the content begins with "->".
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			if target, ok := strings.CutPrefix(content, "->"); ok {
				err = os.Symlink(target, path)
			} else {
				err = os.WriteFile(path, []byte(content), 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const wasm = "\x00asm\x01\x00\x00\x00"

func TestOpenModule(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside.wasm")
	if err := os.WriteFile(outside, []byte(wasm+"outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := tree(t, map[string]string{
		"app.wasm": wasm + "root", "bin/tool": wasm + "bin", "srv/app.wasm": wasm + "srv", "elf": "\x7fELF", "short": "\x00a", "empty": "",
		"absolute": "->/bin/tool", "up": "->../../../../../bin/tool", "dir/link": "->../app.wasm", "escape": "->" + outside,
		"climb": "->../../../../../../../../../.." + outside, "loop": "->loop", "proc": "->/proc/self/root" + outside, "srv/linked": "->/srv",
	})
	if err := unix.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ arg, dir, path, want string }{
		{"/app.wasm", "/", "", "root"},
		{"app.wasm", "/", "", "root"},
		{"app.wasm", "/srv", "", "srv"},
		{"./app.wasm", "/srv", "", "srv"},
		{"../app.wasm", "/srv", "", "root"},
		{"tool", "/", "/usr/bin:/bin", "bin"},
		{"tool", "/", "", ""},
		{"./tool", "/", "/bin", ""},
		{"/absolute", "/", "", "bin"},
		{"/up", "/", "", "bin"},
		{"/dir/link", "/", "", "root"},
		{"/srv/linked/app.wasm", "/", "", "srv"},
		{"/../../app.wasm", "/", "", "root"},
		{"/escape", "/", "", ""},
		{"/climb", "/", "", ""},
		{"/proc", "/", "", ""},
		{"/loop", "/", "", ""},
		{"/none", "/", "", ""},
		{"/elf", "/", "", "no WebAssembly"},
		{"/short", "/", "", "no WebAssembly"},
		{"/empty", "/", "", "no WebAssembly"},
		{"/bin", "/", "", "no regular file"},
		{"/pipe", "/", "", "no regular file"},
		{"/app.wasm/below", "/", "", ""},
	} {
		c := &Config{Args: []string{tt.arg}, Dir: tt.dir, Env: []string{"X=y", "PATH=" + tt.path}}
		f, err := OpenModule(root, c)
		if err != nil {
			if !errors.Is(err, ErrNoModule) || tt.want != "" && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s in %s: %v, want %q", tt.arg, tt.dir, err, tt.want)
			}
			continue
		}
		content, err := io.ReadAll(f)
		_ = f.Close()
		if got := strings.TrimPrefix(string(content), wasm); err != nil || got != tt.want {
			t.Errorf("%s in %s: %q, %v; want %q", tt.arg, tt.dir, got, err, tt.want)
		}
	}
	if _, err := OpenModule(filepath.Join(root, "none"), &Config{Args: []string{"/x"}}); err == nil {
		t.Error("a root file system that is not there is opened")
	}
}

func TestMounted(t *testing.T) {
	source, dir := tree(t, map[string]string{"app.wasm": wasm}), filepath.Join(t.TempDir(), "rootfs")
	mounts := []RootMount{{Type: "tmpfs", Source: "tmpfs", Options: []string{"size=64k"}}, {Type: "bind", Source: source, Options: []string{"rbind", "ro"}}}
	looked := false
	err := Mounted(dir, mounts, func() error {
		looked = true
		f, err := OpenModule(dir, &Config{Args: []string{"/app.wasm"}})
		if err == nil {
			err = f.Close()
		}
		return err
	})
	if errors.Is(err, unix.EPERM) {
		t.Skipf("mounting needs root: %v", err)
	}
	if err != nil || !looked {
		t.Errorf("looked %v: %v", looked, err)
	}
	failed := errors.New("no")
	if err := Mounted(dir, mounts, func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("what failed inside: %v", err)
	}
	bad := append(mounts[:1:1], RootMount{Type: "nosuchfs", Source: "x"})
	if err := Mounted(dir, bad, func() error { return nil }); err == nil || !strings.Contains(err.Error(), "nosuchfs") {
		t.Errorf("what cannot be mounted: %v", err)
	}
	long := []RootMount{{Type: "overlay", Options: []string{"lowerdir=" + strings.Repeat("/a:", maxMountData/3+1)}}}
	if err := Mounted(dir, long, func() error { return nil }); err == nil || !strings.Contains(err.Error(), "layers") {
		t.Errorf("too many layers: %v", err)
	}
	if info, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(info), dir) {
		t.Errorf("mounts are left, %v", err)
	}
	if err := Mounted("/nowhere", nil, func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("nothing to mount: %v", err)
	}
}

func TestMountOptions(t *testing.T) {
	flags, data := mountOptions([]string{"ro", "rbind", "noatime", "rw", "lowerdir=/a", "index=off"})
	if flags != unix.MS_BIND|unix.MS_REC|unix.MS_NOATIME || data != "lowerdir=/a,index=off" {
		t.Errorf("%x %q", flags, data)
	}
}
