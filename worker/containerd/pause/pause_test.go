package pause

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// TestPrograms: each is whole in itself and small, whatever built it.
func TestPrograms(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		raw, err := Program(arch)
		if err != nil {
			t.Fatal(err)
		}
		file, err := elf.NewFile(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if file.Machine != machine || file.Type != elf.ET_EXEC || len(raw) > 4096 {
			t.Errorf("%s: %v, %v, %d bytes", arch, file.Machine, file.Type, len(raw))
		}
		for _, p := range file.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_LOAD && p.Flags&elf.PF_W != 0 && p.Flags&elf.PF_X != 0 {
				t.Errorf("%s: segment %v", arch, p.ProgHeader)
			}
		}
	}
	if _, err := Program("none"); err == nil {
		t.Error("there is a program for no architecture")
	}
}

// TestEndsWhenAsked runs the program: it lives until SIGTERM and then ends well.
func TestEndsWhenAsked(t *testing.T) {
	raw, err := Program(runtime.GOARCH)
	if err != nil {
		t.Skipf("%s: %v", t.Name(), err)
	}
	path := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(path, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd := exec.Command(path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for _, ignored := range []os.Signal{syscall.SIGCHLD, signal} {
			if err := cmd.Process.Signal(ignored); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Wait(); err != nil {
			// Asked before its first instruction, it dies of the signal instead.
			status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !ok || !status.Signaled() || status.Signal() != signal {
				t.Errorf("after %v: %v", signal, err)
			}
		}
	}
}

func TestImageIsTheSameEachTime(t *testing.T) {
	first, err := Image()
	if err != nil {
		t.Skipf("%s: %v", t.Name(), err)
	}
	second, err := Image()
	if err != nil {
		t.Fatal(err)
	}
	a, errA := first.Digest()
	b, errB := second.Digest()
	if errA != nil || errB != nil || a != b {
		t.Errorf("digests %v (%v), %v (%v)", a, errA, b, errB)
	}
}
