package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/test/toolchain"
)

// deployed is the deploy API's answer.
type deployed struct {
	App       string             `json:"app"`
	Namespace string             `json:"namespace"`
	Version   int                `json:"version"`
	Digest    string             `json:"digest"`
	URL       string             `json:"url"`
	Timings   map[string]float64 `json:"timings_ms"`
	ColdStart float64            `json:"cold_start_us"`
}

// problem is an error of the deploy API, as RFC 9457 has it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Cause  string `json:"cause"`
	Fix    string `json:"fix"`
}

// patient gives a deployment longer than the usual minute: a module is compiled in it, maybe on a busy machine.
const patient = "&timeout=170s"

// deployURL is where an app of the test's namespace is put.
func (w *world) deployURL(app string) string {
	return w.cluster.State.API + "/v1/apps/" + app + "?namespace=" + w.ns
}

// deploy uploads a file by `curl -T` and wants the status.
func (w *world) deploy(app, path string, status int) deployed {
	w.Helper()
	a := w.curl("-T", path, w.deployURL(app)+patient)
	if a.Status != status {
		w.Fatalf("deploy %s: %d, want %d: %s", app, a.Status, status, a.Body)
	}
	return parse[deployed](w, a.Body)
}

// deployWith is deploy with configuration in the query, as one who uses curl alone gives it.
func (w *world) deployWith(app, path, query string) deployed {
	w.Helper()
	a := w.curl("-T", path, w.deployURL(app)+patient+"&"+query)
	if a.Status != 201 {
		w.Fatalf("deploy %s with %s: %d: %s", app, query, a.Status, a.Body)
	}
	return parse[deployed](w, a.Body)
}

// file writes bytes for curl to upload.
func (w *world) file(name string, data []byte) string {
	w.Helper()
	path := filepath.Join(w.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		w.Fatal(err)
	}
	return path
}

// TestDeploy is the main job: a module in, a live URL out, by curl alone.
func TestDeploy(t *testing.T) {
	w := newWorld(t)
	module := w.modulePath("probe")

	first := w.deploy("hello", module, 201)
	equal(t, "version", first.Version, 1)
	matches(t, first.Digest, `^sha256:[0-9a-f]{64}$`)
	equal(t, "url", first.URL, w.appURL("hello"))
	for _, step := range []string{"upload", "validate", "compile", "schedule", "first_response"} {
		if _, there := first.Timings[step]; !there {
			t.Errorf("timings_ms lack %s: %v", step, first.Timings)
		}
	}
	if first.ColdStart <= 0 {
		t.Errorf("cold_start_us is %v", first.ColdStart)
	}
	// The answer means live: the first request may not fail, and it is asked as a user asks.
	a := w.curl(first.URL)
	equal(t, "status of the first request", a.Status, 200)
	contains(t, a.Body, "probe")

	again := w.deploy("hello", module, 200)
	equal(t, "version of the same bytes", again.Version, 1)
	equal(t, "digest of the same bytes", again.Digest, first.Digest)

	other := w.file("other.wasm", toolchain.WithCustomSection(w.module("probe"), "release", []byte("two")))
	second := w.deploy("hello", other, 201)
	equal(t, "version of other bytes", second.Version, 2)
	if second.Digest == first.Digest {
		t.Error("other bytes have the same digest")
	}
	equal(t, "status after the second version", w.curl(second.URL).Status, 200)
	contains(t, w.kubectl("get", "deployments", "-o", "wide"), second.Digest)

	equal(t, "going back makes a version", w.deploy("hello", module, 201).Version, 3)
	contains(t, w.curl(w.cluster.State.API+"/v1/apps?namespace="+w.ns).Body, `"hello"`)
	equal(t, "GET of the app", w.curl(w.deployURL("hello")).Status, 200)

	if a := w.curl("-X", "DELETE", w.deployURL("hello")); a.Status/100 != 2 {
		t.Fatalf("DELETE: %d %s", a.Status, a.Body)
	}
	equal(t, "GET of the deleted app", w.curl(w.deployURL("hello")).Status, 404)
	w.eventually("the app's objects to be gone", func() error {
		if left := w.kubectl("get", "deployments,pods,services", "-o", "name"); left != "" {
			return &missing{what: "emptiness", in: left}
		}
		return nil
	})
	w.becomes(first.URL, 404, "")
}

// TestDeployDefaultNamespace has the short URL, and no query.
func TestDeployDefaultNamespace(t *testing.T) {
	w := newWorld(t)
	app := "short-" + w.ns
	url := w.cluster.State.API + "/v1/apps/" + app
	a := w.curl("-T", w.modulePath("probe"), url)
	equal(t, "status", a.Status, 201)
	equal(t, "url", parse[deployed](w, a.Body).URL, fmt.Sprintf("http://%s.localhost:%s/", app, w.gatewayPort()))
	contains(t, w.curl(parse[deployed](w, a.Body).URL).Body, "probe")
	equal(t, "DELETE", w.curl("-X", "DELETE", url).Status/100, 2)
}

// TestDeployRefusals sends what cannot run; each answer names the cause and the mend.
func TestDeployRefusals(t *testing.T) {
	w := newWorld(t)
	component := []byte{0, 'a', 's', 'm', 0x0d, 0, 1, 0}
	for _, c := range []struct {
		name   string
		data   []byte
		status int
		words  []string // that the answer must have
	}{
		{"text", []byte("#!/bin/sh\necho hello\n"), 422, []string{"not_wasm"}},
		{"empty", nil, 422, []string{"not_wasm"}},
		{"truncated", w.module("task")[:1000], 422, []string{"malformed"}},
		{"component", component, 422, []string{"component_not_supported"}},
		{"unresolved import", toolchain.WithImport("env", "frobnicate"), 422, []string{"unresolved_import", "env", "frobnicate"}},
		{"misspelt import", toolchain.WithImport("wasi_snapshot_preview1", "fd_wriet"), 422, []string{"unresolved_import", "fd_wriet", "fd_write"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.curl("-T", w.file("module.wasm", c.data), w.deployURL("bad"))
			equal(t, "status", a.Status, c.status)
			equal(t, "content type", a.Header.Get("Content-Type"), "application/problem+json")
			contains(t, a.Body, c.words...)
			p := parse[problem](w, a.Body)
			equal(t, "status in the body", p.Status, a.Status)
			if p.Code == "" || p.Title == "" || p.Fix == "" || p.Cause == "" && p.Detail == "" {
				t.Errorf("the problem lacks code, title, cause or fix: %s", a.Body)
			}
		})
	}
	equal(t, "objects left by refused deployments", w.kubectl("get", "deployments,services", "-o", "name"), "")
}

// TestDeployLimits holds the API to its named limits.
func TestDeployLimits(t *testing.T) {
	w := newWorld(t)
	large := filepath.Join(t.TempDir(), "large.wasm")
	if err := os.WriteFile(large, []byte("\x00asm\x01\x00\x00\x00"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 1<<30); err != nil { // sparse; far above any limit a module has
		t.Fatal(err)
	}
	a := w.curl("-T", large, w.deployURL("large"))
	equal(t, "status", a.Status, 413)
	equal(t, "content type", a.Header.Get("Content-Type"), "application/problem+json")
	contains(t, a.Body, "too_large")
	matches(t, a.Body, `\d+ ?(MiB|bytes)`)

	for _, app := range []string{"Upper", "under_score", strings.Repeat("x", 64), "-dash"} {
		a := w.curl("-T", w.modulePath("task"), w.deployURL(app))
		if a.Status != 400 && a.Status != 422 {
			t.Errorf("app name %q: %d %s", app, a.Status, a.Body)
		}
		contains(t, a.Header.Get("Content-Type"), "application/problem+json")
	}
	a = w.curl("-T", w.modulePath("probe"), w.cluster.State.API+"/v1/apps/hello?namespace=no-such-namespace")
	equal(t, "unknown namespace", a.Status, 404)
	equal(t, "wrong method", w.curl("-X", "POST", w.deployURL("hello")).Status, 405)
}

// TestForeignPagesAreRefused: a web page that the developer happens to read can make a browser send requests to
// 127.0.0.1, or, by a name of its own that resolves to 127.0.0.1, even read the answers. Neither may reach the API.
func TestForeignPagesAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/v1/apps", "/api/v1/namespaces", "/apis", "/v2/"} {
		url := w.cluster.State.API + path
		equal(t, path+" as ourselves", w.curl(url).Status, 200)
		equal(t, path+" as a foreign host", w.curl("-H", "Host: evil.example", url).Status, 403)
		equal(t, path+" from a foreign page", w.curl("-H", "Origin: http://evil.example", url).Status, 403)
		equal(t, path+" from a foreign page by fetch", w.curl("-H", "Sec-Fetch-Site: cross-site", url).Status, 403)
	}
	hello := w.deploy("hello", w.modulePath("probe"), 201)
	// An app's own page may not reach the API either: the app is a guest.
	equal(t, "the API from an app's page", w.curl("-X", "DELETE", "-H", "Origin: "+strings.TrimSuffix(hello.URL, "/"), w.deployURL("hello")).Status, 403)
	equal(t, "the app still", w.curl(hello.URL).Status, 200)
	equal(t, "an unknown app", w.curl(w.appURL("nobody")).Status, 404)
	equal(t, "no app's name at the gateway", w.curl("http://"+w.cluster.State.Gateway+"/").Status, 404)
}
