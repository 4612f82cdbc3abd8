package e2e

import (
	"testing"

	"github.com/petrelrun/petrel/test/toolchain"
)

// TestHostileModules deploys what must not even be compiled. Each is refused in words, at once.
func TestHostileModules(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name   string
		data   []byte
		status int
		words  []string // that the answer must have
	}{
		{"flood of imports", toolchain.WithImports("env", "f", 200_000), 422, []string{"limit_exceeded", "imports", "200000"}},
		{"table bomb", toolchain.WithTable(1 << 31), 422, []string{"limit_exceeded", "table"}},
		{"memory bomb", toolchain.WithMemory(1 << 17), 422, []string{"memory"}},
		{"section without end", toolchain.WithSectionSize(1 << 30), 422, []string{"malformed", "section"}},
		{"custom section of a lie", append(toolchain.WithCustomSection(w.module("hostile"), "x", nil), 0, 0xff, 0xff, 0xff, 0xff, 0x0f), 422, []string{"malformed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			a := w.curl("-T", w.file("module.wasm", c.data), w.deployURL("bad"))
			equal(t, "status", a.Status, c.status)
			contains(t, a.Body, c.words...)
			if p := parse[problem](w, a.Body); p.Cause == "" || p.Fix == "" {
				t.Errorf("the problem lacks cause or fix: %s", a.Body)
			}
		})
	}
	equal(t, "objects left by refused deployments", w.kubectl("get", "deployments,services", "-o", "name"), "")
}
