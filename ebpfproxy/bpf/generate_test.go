package bpf

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGenerateMakesTheCommittedObjects, byte for byte.
func TestGenerateMakesTheCommittedObjects(t *testing.T) {
	out := t.TempDir()
	cmd := exec.Command("./generate.sh")
	cmd.Env = append(os.Environ(), "OUT="+out)
	said, err := cmd.CombinedOutput()
	if err == nil && strings.Contains(string(said), "the committed") {
		t.Skip(strings.TrimSpace(string(said))) // what it needs is not here
	}
	if err != nil || len(said) > 0 {
		t.Fatalf("generate.sh: %v\n%s", err, said)
	}
	made, err := filepath.Glob(filepath.Join(out, "*"))
	if err != nil {
		t.Fatal(err)
	}
	committed, err := filepath.Glob("*_bpfel.*")
	if err != nil {
		t.Fatal(err)
	}
	if len(made) == 0 || len(made) != len(committed) {
		t.Errorf("%d files are made, %d are committed", len(made), len(committed))
	}
	for _, path := range made {
		name := filepath.Base(path)
		want, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what its source makes: go generate ./ebpfproxy/bpf", name)
		}
	}
}

// TestGenerateWithoutClangLeavesTheObjects alone and says so.
func TestGenerateWithoutClangLeavesTheObjects(t *testing.T) {
	tools, out := t.TempDir(), t.TempDir()
	for _, name := range []string{"sh", "dirname", "sed"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(tools, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("./generate.sh")
	cmd.Env = []string{"PATH=" + tools, "OUT=" + out}
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("generate.sh: %v\n%s", err, said)
	}
	if want := "here is clang (none): the committed ones stay"; !strings.Contains(string(said), want) {
		t.Errorf("it says %q, want %q in it", said, want)
	}
	if made, err := os.ReadDir(out); err != nil || len(made) > 0 {
		t.Errorf("it made %v, %v", made, err)
	}
}
