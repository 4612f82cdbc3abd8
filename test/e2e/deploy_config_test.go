package e2e

import (
	"strings"
	"testing"
)

// put deploys by a JSON body and wants the status.
func (w *world) put(app, query, body string, status int) string {
	w.Helper()
	a := w.curl("-X", "PUT", "-H", "Content-Type: application/json", "-d", body, w.deployURL(app)+patient+query)
	if a.Status != status {
		w.Fatalf("PUT %s %s: %d, want %d: %s", app, body, a.Status, status, a.Body)
	}
	return a.Body
}

// TestDeployConfiguration changes how an app runs without uploading it again.
func TestDeployConfiguration(t *testing.T) {
	w := newWorld(t)
	hello := w.deploy("hello", w.modulePath("probe"), 201)

	plan := w.put("hello", "&dry_run=1", `{"env":{"RELEASE":"two"}}`, 200)
	contains(t, plan, `"dry_run"`, `"update"`)
	lacks(t, w.get(hello.URL, 200).Body, "two")

	second := parse[deployed](w, w.put("hello", "", `{"env":{"RELEASE":"two"},"limits":{"wall_time":"1s","memory":"64Mi"},"replicas":2}`, 201))
	equal(t, "version", second.Version, 2)
	equal(t, "digest", second.Digest, hello.Digest)
	contains(t, w.get(hello.URL, 200).Body, "probe two")
	matches(t, w.kubectl("get", "deployments"), ` 2/2 `)
	contains(t, w.get(hello.URL+"loop", 504).Body, "wall_time")
	contains(t, w.get(hello.URL+"allocate?mib=256", 507).Body, "memory")
	w.get(hello.URL, 200)

	// A name that no version has, and a value that no pod may have, are refused by name.
	contains(t, w.put("hello", "", `{"limits":{"memory":"lots"}}`, 422), "memory")
	contains(t, w.put("hello", "", `{"colour":"red"}`, 400), "colour")
	contains(t, w.put("hello", "", `{"env":`, 400), `"code"`)
	contains(t, w.put("nobody", "", `{"env":{}}`, 404), "nobody")

	// The same app is an object like any other.
	matches(t, w.kubectl("get", "apps"), `^NAME .*`, `^hello `)
	if n := count(w, "get", "revisions", "-o", "name"); n != 2 {
		t.Errorf("%d revisions, want 2", n)
	}
	w.kubectl("delete", "app", "hello")
	w.eventually("what the app owned to be gone", func() error {
		if left := strings.TrimSpace(w.kubectl("get", "deployments,services,pods,revisions", "-o", "name")); left != "" {
			return &missing{what: "emptiness", in: left}
		}
		return nil
	})
}
