package e2e

import (
	"fmt"
	"testing"
)

// TestOtherABIs deploys the examples that know nothing of Petrel's SDK by curl: what each imports and exports says how it
// is served.
func TestOtherABIs(t *testing.T) {
	w := newWorld(t)
	webform := w.deployWith("webform", w.example("webform"), "http=wagi").URL
	a := w.curl("-d", "name=Ada", webform)
	equal(t, "status", a.Status, 200)
	contains(t, a.Body, "Good day, Ada!", "<form")
	contains(t, a.Header.Get("Content-Type"), "text/html")
	equal(t, "status of no page", w.curl(webform+"nowhere").Status, 404)

	greet := w.deploy("greet", w.example("greet"), 201).URL
	contains(t, w.curl(greet+"petrel").Body, "Hello, petrel")
	equal(t, "body in upper case", w.curl("-d", "quietly", greet).Body, "QUIETLY")

	// A server that accepts connections itself lives on between requests.
	echo := w.deploy("echoserver", w.example("echoserver"), 201).URL
	var first, second int
	for _, n := range []*int{&first, &second} {
		if body := w.curl(echo).Body; !scanned(body, n) {
			t.Fatalf("echoserver says %q", body)
		}
	}
	if second <= first {
		t.Errorf("the second request is counted %d, the first was %d", second, first)
	}
	equal(t, "echo", w.curl("-d", "back to me", echo).Body, "back to me")

	for app, abi := range map[string]string{"webform": "wagi", "greet": "http-wasm"} {
		contains(t, w.curl(w.deployURL(app)).Body, abi)
	}
}

func scanned(body string, n *int) bool {
	_, err := fmt.Sscanf(body, "request %d", n)
	return err == nil
}
