package stats

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTreeUse(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(a, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a, "sub", "file"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(b, "everything")); err != nil {
		t.Fatal(err)
	}
	use := TreeUse(a, b, filepath.Join(a, "none"))
	if *use.Bytes < 1<<20 || *use.Bytes > 2<<20 || *use.Inodes != 5 {
		t.Errorf("use = %d bytes, %d inodes: want about a MiB and 5", *use.Bytes, *use.Inodes)
	}
}
