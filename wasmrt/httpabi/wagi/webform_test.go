package wagi

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// TestWebform runs the Go example: net/http/cgi on our environment.
func TestWebform(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an example")
	}
	s := server(t, moduletest.BuildGo(t, "../../../examples/webform", false), nil)
	for mode, want := range map[string]module.ABI{"": module.ABISockets, module.HTTPWAGI: module.ABIWAGI} {
		if abi, reason, err := module.Detect(s.cfg.Template.Info(), mode, true); abi != want || err != nil {
			t.Errorf("%q: %s (%s), %v", mode, abi, reason, err)
		}
	}
	w, log, err := do(t, s, httptest.NewRequest("GET", "/", nil))
	if err != nil || w.Code != 200 || !strings.Contains(w.Body.String(), "<form") || strings.Contains(w.Body.String(), "Good day") {
		t.Errorf("GET: %d %q, %v, log %q", w.Code, w.Body, err, log)
	}
	r := httptest.NewRequest("POST", "/", strings.NewReader("name=Ada+%3Cb%3E"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w, log, err = do(t, s, r)
	if err != nil || !strings.Contains(w.Body.String(), "Good day, Ada &lt;b&gt;!") {
		t.Errorf("POST: %d %q, %v, log %q", w.Code, w.Body, err, log)
	}
	if w, _, err = do(t, s, httptest.NewRequest("DELETE", "/else", nil)); err != nil || w.Code != 404 {
		t.Errorf("another path: %d, %v", w.Code, err)
	}
}
