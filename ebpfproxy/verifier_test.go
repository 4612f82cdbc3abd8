package ebpfproxy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files")

// TestVerifierEffort: how many instructions the kernel's verifier walks for each program. A change that multiplies them
// is to be seen in review; the kernel refuses a program at a million.
func TestVerifierEffort(t *testing.T) {
	a := newArena(t)
	p := a.open(Config{})
	got := map[string]uint32{}
	for _, c := range []*ebpf.Collection{p.programs, p.reaper.programs} {
		for name, prog := range c.Programs {
			info, err := prog.Info()
			must(t, err)
			n, ok := info.VerifiedInstructions()
			if !ok {
				t.Skip("needs a kernel that tells how many instructions it verified")
			}
			got[name] = n
		}
	}
	path := filepath.Join("testdata", "instructions.golden")
	kernel := kernelVersion(t)
	if *update {
		writeInstructions(t, path, kernel, got)
		return
	}
	from, want := readInstructions(t, path)
	for name, n := range got {
		switch w := want[name]; {
		case w == 0:
			t.Errorf("%s is not in %s: go test -run %s -update", name, path, t.Name())
		case from == kernel && n != w:
			t.Errorf("%s: %d instructions are verified, %s says %d (-update writes it)", name, n, path, w)
		case n > 2*w: // another kernel's verifier counts otherwise, but not by much
			t.Errorf("%s: %d instructions are verified, %d on %s", name, n, w, from)
		}
	}
	if len(want) != len(got) {
		t.Errorf("%s names %d programs, there are %d", path, len(want), len(got))
	}
}

func kernelVersion(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	must(t, unix.Uname(&u))
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	return strings.Join(parts[:2], ".")
}

func writeInstructions(t *testing.T, path, kernel string, got map[string]uint32) {
	t.Helper()
	lines := make([]string, 0, len(got))
	for name, n := range got {
		lines = append(lines, fmt.Sprintf("%-16s %d\n", name, n))
	}
	sort.Strings(lines)
	must(t, os.WriteFile(path, []byte("kernel "+kernel+"\n"+strings.Join(lines, "")), 0o644))
}

func readInstructions(t *testing.T, path string) (kernel string, want map[string]uint32) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	want = map[string]uint32{}
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		var name string
		var n uint32
		if i == 0 {
			kernel = strings.TrimPrefix(line, "kernel ")
			continue
		}
		if _, err := fmt.Sscan(line, &name, &n); err != nil {
			t.Fatalf("%s: line %q: %v", path, line, err)
		}
		want[name] = n
	}
	return kernel, want
}
