package ebpfproxy

import (
	"path/filepath"
	"testing"
)

// TestNATVerifierEffort is TestVerifierEffort for the programs on the packet path.
func TestNATVerifierEffort(t *testing.T) {
	r := newNATRig(t, NATConfig{})
	got := map[string]uint32{}
	for name, prog := range r.nat.programs.Programs {
		info, err := prog.Info()
		must(t, err)
		n, ok := info.VerifiedInstructions()
		if !ok {
			t.Skip("needs a kernel that tells how many instructions it verified")
		}
		got[name] = n
	}
	path := filepath.Join("testdata", "nat_instructions.golden")
	kernel := kernelVersion(t)
	if *update {
		writeInstructions(t, path, kernel, got)
		return
	}
	from, want := readInstructions(t, path)
	if len(got) != 2 || len(want) != 2 {
		t.Fatalf("two programs, here %v and in %s %v", got, path, want)
	}
	for name, n := range got {
		if w := want[name]; from == kernel && n != w || n > 2*w {
			t.Errorf("%s: %d instructions are verified, %d on %s (-update writes it)", name, n, w, from)
		}
	}
}
