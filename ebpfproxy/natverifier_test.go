package ebpfproxy

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

var updateVerifier = flag.Bool("update-verifier", false, "write what the verifier of this kernel says to testdata")

const (
	// natVerifierSlack is how far, in percent, counts may be off between patch releases of one kernel.
	natVerifierSlack = 10

	// natVerifierLimit holds on every kernel: a tenth of what the verifier takes at most.
	natVerifierLimit = 100_000
)

// TestNATVerifier keeps in sight what the kernel's verifier has to look at: a program that grows beyond it does not load,
// and kernels differ in how much they see.
func TestNATVerifier(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: bpf")
	}
	spec, err := bpf.LoadNat()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := ebpf.NewCollection(spec)
	if err != nil {
		skipUnsupported(t, err)
	}
	defer objects.Close()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	release, _, _ := bytes.Cut(uts.Release[:], []byte{0})
	major, rest, _ := strings.Cut(string(release), ".")
	minor, _, _ := strings.Cut(rest, ".")
	kernel := "linux " + major + "." + minor
	text := kernel + "\n"
	for _, name := range slices.Sorted(maps.Keys(objects.Programs)) {
		info, err := objects.Programs[name].Info()
		if err != nil {
			t.Fatal(err)
		}
		count, ok := info.VerifiedInstructions()
		if !ok || count > natVerifierLimit {
			t.Errorf("%s: the verifier looks at %d instructions, limit %d", name, count, natVerifierLimit)
		}
		text += fmt.Sprintf("%s %d\n", name, count)
	}
	const golden = "testdata/verifier_nat.golden"
	if *updateVerifier {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	lines, wanted := strings.Split(text, "\n"), strings.Split(string(want), "\n")
	if lines[0] != wanted[0] {
		t.Logf("counts are of %s, this is %s: %s", wanted[0], lines[0], text)
		return
	}
	if !slices.EqualFunc(lines, wanted, natVerifierSame) {
		t.Errorf("the verifier's counts are\n%swere\n%sRun with -update-verifier if that is as it should be.", text, want)
	}
}

// natVerifierSame compares two lines of the file.
func natVerifierSame(a, b string) bool {
	var an, bn string
	var ac, bc int
	if _, err := fmt.Sscan(a, &an, &ac); err != nil {
		return a == b
	}
	if _, err := fmt.Sscan(b, &bn, &bc); err != nil {
		return false
	}
	return an == bn && max(ac, bc)*100 <= min(ac, bc)*(100+natVerifierSlack)
}
