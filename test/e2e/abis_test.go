package e2e

import (
	"fmt"
	"testing"
)

// TestOtherABIs deploys programs that know nothing of Petrel's SDK: what each imports and exports says how it is served.
func TestOtherABIs(t *testing.T) {
	w := newWorld(t)
	cgi := w.deploy("cgi", w.modulePath("cgi"), 201).URL
	a := w.curl("-d", "a body", cgi+"some/path?q=1")
	equal(t, "status", a.Status, 200)
	equal(t, "body", a.Body, "POST /some/path?q=1\na body")
	equal(t, "content type", a.Header.Get("Content-Type"), "text/plain")
	equal(t, "a header of its own", a.Header.Get("X-Made-By"), "cgi")
	equal(t, "a status of its own", w.curl(cgi+"teapot").Status, 418)

	filter := w.deploy("filter", w.modulePath("filter"), 201).URL
	equal(t, "body", w.curl(filter+"some/path?q=1").Body, "filtered /some/path?q=1")

	// A server that lives on counts; its process must not be spinning while nobody asks.
	listener := w.deploy("listener", w.modulePath("listener"), 201).URL
	before := w.curl(listener + "a").Body
	matches(t, before, `^request \d+ for /a$`)
	var first, second int
	if _, err := fmt.Sscanf(before, "request %d", &first); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(w.curl(listener+"b").Body, "request %d for /b", &second); err != nil || second <= first {
		t.Errorf("the second request is counted %d, the first was %d: %v", second, first, err)
	}

	for app, abi := range map[string]string{"cgi": "wagi", "filter": "http-wasm"} {
		contains(t, w.curl(w.deployURL(app)).Body, abi)
	}
}
