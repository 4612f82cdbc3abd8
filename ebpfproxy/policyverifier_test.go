package ebpfproxy

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

const (
	policyVerifierGolden = "testdata/policy_verifier.golden"
	// policyVerifierSlack is how far a kernel may be from the one that the file was written on, in percent.
	policyVerifierSlack = 25
)

// TestPolicyVerifier: how many instructions the verifier walks for each program is known, so that a small change with a
// large price is seen.
func TestPolicyVerifier(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root: no bpf")
	}
	counted := map[string]uint32{}
	for _, load := range []func() (*ebpf.CollectionSpec, error){bpf.LoadPolicy, bpf.LoadSteer} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		c, err := ebpf.NewCollection(spec)
		if err != nil {
			skipUnsupported(t, err)
		}
		defer c.Close()
		for name, program := range c.Programs {
			info, err := program.Info()
			if err != nil {
				t.Fatal(err)
			}
			n, ok := info.VerifiedInstructions()
			if !ok {
				t.Skip("this kernel does not tell how much it verified")
			}
			counted[name] = n
		}
	}
	if *update {
		writePolicyVerifier(t, counted)
	}
	golden, err := os.ReadFile(policyVerifierGolden)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(golden)) {
		var name string
		var want uint32
		if _, err := fmt.Sscan(line, &name, &want); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		seen++
		if got := counted[name]; got*100 > want*(100+policyVerifierSlack) || got*100 < want*(100-policyVerifierSlack) {
			t.Errorf("%s: %d instructions are verified, %d before: -update writes the file anew", name, got, want)
		}
	}
	if seen != len(counted) {
		t.Errorf("%d programs, %d in %s", len(counted), seen, policyVerifierGolden)
	}
}

func writePolicyVerifier(t *testing.T, counted map[string]uint32) {
	t.Helper()
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(counted)) {
		fmt.Fprintf(&out, "%s %d\n", name, counted[name])
	}
	if err := os.WriteFile(policyVerifierGolden, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
