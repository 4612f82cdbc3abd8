package spectest

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/api"
)

// suites are the versions of the specification, with the features that each knows.
var suites = map[string]api.CoreFeatures{"v1": api.CoreFeaturesV1, "v2": api.CoreFeaturesV2}

// tally counts what was run and names what was left out.
type tally struct {
	ran, same map[string]int
	left      map[string]int
	obstacles map[string]int
	modules   int
	yields    int
}

func TestSpecification(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest")
	for suite, features := range suites {
		t.Run(suite, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(dir, suite, "testdata", "*.json"))
			if err != nil || len(files) < 50 {
				t.Fatalf("%d scripts of the suite are there, %v", len(files), err)
			}
			all := &tally{ran: map[string]int{}, same: map[string]int{}, left: map[string]int{}, obstacles: map[string]int{}}
			host := &script{dir: filepath.Join(dir, "testdata")}
			spectest, err := host.read("spectest.wasm")
			if err != nil {
				t.Fatal(err)
			}
			for i, path := range files {
				if i%oneOf != 0 {
					continue
				}
				runScript(t, path, features, spectest, all)
			}
			report(t, all)
		})
	}
}

func report(t *testing.T, all *tally) {
	for _, kind := range slices.Sorted(maps.Keys(all.ran)) {
		t.Logf("%-22s %6d run both ways, %6d with the same result", kind, all.ran[kind], all.same[kind])
	}
	t.Logf("%d modules rewritten, %d yields; snapshots: %v", all.modules, all.yields, all.obstacles)
	for _, why := range slices.Sorted(maps.Keys(all.left)) {
		t.Logf("left out: %d %s", all.left[why], why)
	}
	if oneOf == 1 && (all.ran["assert_return"] < 10_000 || all.ran["assert_trap"] < 300 || all.yields < 1000) {
		t.Errorf("too little was run: %v, %d yields", all.ran, all.yields)
	}
}

// runScript runs one file in two machines, command by command.
func runScript(t *testing.T, path string, features api.CoreFeatures, spectest []byte, all *tally) {
	s, err := readScript(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	var machines [2]*machine
	for i := range machines {
		m, err := newMachine(ctx, features, spectest, i == 1)
		if err != nil {
			t.Fatal(err)
		}
		defer m.runtime.Close(context.WithoutCancel(ctx))
		machines[i] = m
	}
	for i, c := range s.Commands {
		if c.Type == "register" { // wazero names an instance when it is made
			if i == 0 || s.Commands[i-1].Type != "module" {
				t.Errorf("%s:%d registers what is not the module before it", s.name, c.Line)
			}
			continue
		}
		if i+1 < len(s.Commands) && s.Commands[i+1].Type == "register" {
			c.As = s.Commands[i+1].As
		}
		if c.ModuleType == "text" {
			all.left["text modules: only binaries are read"]++
			continue
		}
		plain, rewritten := outcome(ctx, machines[0], s, c), outcome(ctx, machines[1], s, c)
		all.ran[c.Type]++
		switch {
		case plain != "" && plain == rewritten && strings.HasPrefix(plain, "FAIL"):
			all.left["asserts that wazero itself does not fulfil: "+s.name]++
		case plain != rewritten:
			t.Errorf("%s:%d %s %s: plain %q, rewritten %q", s.name, c.Line, c.Type, c.Action.Field, plain, rewritten)
		default:
			all.same[c.Type]++
		}
	}
	all.modules += machines[1].counted
	all.yields += machines[1].yields
	for why, n := range machines[1].obstacles {
		if why == "" {
			why = "possible"
		}
		all.obstacles[why] += n
	}
}

// outcome runs a command and describes what came of it; what the script does not want begins with FAIL.
func outcome(ctx context.Context, m *machine, s *script, c command) string {
	switch c.Type {
	case "module":
		wasm, err := s.read(c.Filename)
		if err == nil {
			err = m.instantiate(ctx, wasm, c.Name, c.As)
		}
		return failed(err)
	case "assert_invalid", "assert_malformed":
		wasm, err := s.read(c.Filename)
		if err != nil {
			return failed(err)
		}
		if !m.refuses(ctx, wasm) {
			return "FAIL: it is accepted"
		}
		return "refused"
	case "assert_unlinkable", "assert_uninstantiable":
		wasm, err := s.read(c.Filename)
		if err != nil {
			return failed(err)
		}
		last := m.last
		err = m.instantiate(ctx, wasm, "", "")
		m.last = last
		if err == nil {
			return "FAIL: it is instantiated"
		}
		return "refused"
	}
	results, err := m.act(ctx, c.Action)
	trap := trapOf(err)
	switch c.Type {
	case "assert_trap":
		if trap == "" {
			return fmt.Sprintf("FAIL: no trap but %x", results)
		}
		return trap
	case "assert_exhaustion":
		if trap != "exhausted" {
			return fmt.Sprintf("FAIL: %q %x", trap, results)
		}
		return trap
	}
	if err != nil {
		return failed(err)
	}
	return fmt.Sprintf("%s%x", check(c.Expected, results), results)
}

func failed(err error) string {
	if err == nil {
		return ""
	}
	return "FAIL: " + trapOf(err)
}

func check(expected []value, results []uint64) string {
	for _, v := range expected {
		words := 1
		if v.Type == "v128" {
			words = 2
		}
		if len(results) < words {
			return "FAIL: results are missing "
		}
		if v.Type == "funcref" && string(v.Value) != `"null"` {
			results = results[1:] // some function; which is the machine's matter
			continue
		}
		if err := v.match(results[:words]); err != nil {
			return "FAIL: " + err.Error() + " "
		}
		results = results[words:]
	}
	if len(expected) > 0 && len(results) > 0 {
		return "FAIL: too many results "
	}
	return ""
}
