package petrel

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestRationaleNamesEveryDependency: a direct dependency that nobody can justify is one to drop.
func TestRationaleNamesEveryDependency(t *testing.T) {
	rationale, err := os.ReadFile("RATIONALE.md")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	requires := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(mod), -1) // indirect ones carry a comment
	if len(requires) < 10 {
		t.Fatalf("found %d direct dependencies in go.mod: is its form another?", len(requires))
	}
	for _, r := range requires {
		// Families are named together: "k8s.io/api, apimachinery, client-go".
		last := r[1][strings.LastIndex(strings.TrimSuffix(r[1], "/v2"), "/")+1:]
		if !strings.Contains(string(rationale), r[1]) && !regexp.MustCompile(`(, |/)`+regexp.QuoteMeta(last)+`[ ,|]`).Match(rationale) {
			t.Errorf("RATIONALE.md does not say why %s is there", r[1])
		}
	}
}
