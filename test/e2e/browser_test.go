package e2e

import (
	"net/url"
	"os/exec"
	"strings"
	"testing"
)

// browserNames are programs that can load a page without a screen.
var browserNames = []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"}

// browse loads a URL in a real browser, runs its scripts and answers the page as it then is.
func (w *world) browse(address string) string {
	w.Helper()
	for _, name := range browserNames {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		// The sandbox needs user namespaces that containers forbid; the page is the test's own.
		cmd := exec.CommandContext(w.Context(), path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
			"--user-data-dir="+w.TempDir(), "--disable-background-networking", "--disable-component-update", "--disable-sync",
			"--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE *.localhost, EXCLUDE 127.0.0.1",
			"--virtual-time-budget=5000", "--dump-dom", address)
		out, err := cmd.Output()
		if err != nil {
			w.Fatalf("%s %s: %v", name, address, err)
		}
		return string(out)
	}
	w.Fatalf("no browser is installed: apt-get install --no-install-recommends %s", browserNames[0])
	return ""
}

// TestBrowser opens an app's URL in a real browser, and then a page of an app that means harm.
func TestBrowser(t *testing.T) {
	w := newWorld(t)
	hello := w.deploy("hello", w.modulePath("probe"), 201)
	contains(t, w.browse(hello.URL), "probe")

	// A "simple" cross-origin request is sent without a preflight, so the server has to refuse it by itself.
	target := w.cluster.State.API + "/api/v1/namespaces/" + w.ns + "/configmaps"
	body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"smuggled"}}`
	page := w.browse(hello.URL + "page?target=" + url.QueryEscape(target) + "&body=" + url.QueryEscape(body))
	contains(t, page, "script ran")
	if out := w.kubectl("get", "configmaps", "-o", "name"); strings.Contains(out, "smuggled") {
		t.Errorf("a page of an app wrote to the API:\n%s", out)
	}
}
