package httpwasm_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGreet builds and runs the C example; it is skipped where its compiler is not installed.
func TestGreet(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an example")
	}
	bin := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-C", "../../../examples", "BIN="+bin, "greet").CombinedOutput()
	if err != nil {
		t.Fatalf("make greet: %v\n%s", err, out)
	}
	wasm, err := os.ReadFile(filepath.Join(bin, "greet.wasm"))
	if os.IsNotExist(err) {
		t.Skipf("make left it out: %s", out)
	}
	if err != nil {
		t.Fatal(err)
	}
	h := serve(t, wasm, nil)
	for path, want := range map[string]string{"/": "Hello, world\n", "/petrel": "Hello, petrel\n"} {
		w := do(h, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || w.Body.String() != want || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("GET %s: %d %v %q", path, w.Code, w.Header(), w.Body)
		}
	}
	if w := do(h, httptest.NewRequest("GET", "/"+strings.Repeat("x", 9000), nil)); w.Code != 414 {
		t.Errorf("a long URI: %d", w.Code)
	}
	big := strings.Repeat("abc ", 10_000)
	if w := do(h, httptest.NewRequest("POST", "/", strings.NewReader(big))); w.Body.String() != strings.ToUpper(big) {
		t.Errorf("POST: %d bytes came back", w.Body.Len())
	}
}
