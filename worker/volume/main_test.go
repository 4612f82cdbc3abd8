package volume

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// needMounts skips where this process may not mount; what it mounts is gone when the test ends.
func needMounts(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	probe := dir + "/probe"
	if err := os.Mkdir(probe, 0o755); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", probe, "tmpfs", 0, "")
	if errors.Is(err, unix.EPERM) {
		t.Skip("EPERM: this process may not mount")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := unmount(probe); err != nil {
		t.Fatal(err)
	}
	work := dir + "/work"
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Remove(work); err != nil {
			t.Error(err)
		}
		if left, err := mountsBelow(dir); err != nil || len(left) > 0 {
			t.Errorf("mounts are left: %v, %v", left, err)
		}
	})
	return work
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: files cannot be given away")
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
