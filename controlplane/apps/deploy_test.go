package apps

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/apps/apptest"
)

// The main job: a module in, a live URL out.
func TestDeploy(t *testing.T) {
	w := newWorld(t)
	first := w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated)
	if first.Version != 1 || first.URL != "http://hello.localhost:8081/" || !first.Ready || first.ColdStartMicros != 4200 || first.Previous != nil {
		t.Errorf("first: %+v", first)
	}
	for _, step := range []string{"upload", "validate", "store", "compile", "schedule", "first_response", "total"} {
		if _, ok := first.Timings[step]; !ok {
			t.Errorf("no timing of %s: %v", step, first.Timings)
		}
	}
	if first.Timings["compile"] != 150 {
		t.Errorf("compile %v ms, want the runtime's 150", first.Timings["compile"])
	}
	again := w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusOK)
	if again.Version != 1 || again.Digest != first.Digest || again.ColdStartMicros != 4200 || !again.Ready {
		t.Errorf("the same bytes: %+v", again)
	}
	second := w.put("/v1/apps/hello", apptest.Reactor("two"), http.StatusCreated)
	if second.Version != 2 || second.Digest == first.Digest || second.Previous == nil || second.Previous.Version != 1 || second.Previous.Digest != first.Digest {
		t.Errorf("other bytes: %+v", second)
	}
	if back := w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated); back.Version != 3 || back.Digest != first.Digest {
		t.Errorf("going back: %+v", back)
	}
	image := apptest.All[*appsv1.Deployment](w.store)[0].Spec.Template.Spec.Containers[0].Image
	if image != "registry.petrel.internal/default/hello@"+first.Digest {
		t.Errorf("the deployment runs %s", image)
	}
	rev := apptest.All[*api.Revision](w.store)
	if len(rev) != 3 || rev[0].Spec.Module == nil || rev[0].Spec.Module.Kind != api.KindReactor {
		t.Errorf("revisions %+v", rev)
	}
}

func TestDeployConfiguration(t *testing.T) {
	w := newWorld(t)
	asJSON := []string{"Content-Type", "application/json"}
	w.put("/v1/apps/hello?env=A=1&env=B=x%3Dy&arg=-v&memory=64Mi&wall_time=5s&concurrency=4&replicas=2", apptest.Reactor("one"), http.StatusCreated)
	c := w.container("hello")
	if got := fmt.Sprint(c.Env); got != "[{A 1 nil} {B x=y nil}]" || !slices.Equal(c.Args, []string{"-v"}) || c.Resources.Limits.Memory().String() != "64Mi" {
		t.Errorf("container: env %s, args %v, limits %v", got, c.Args, c.Resources.Limits)
	}
	// What a request does not name stays.
	kept := w.put("/v1/apps/hello", apptest.Reactor("two"), http.StatusCreated)
	if kept.Limits != (Limits{Memory: "64Mi", WallTime: "5s", Concurrency: 4}) || kept.Replicas != 2 || len(w.container("hello").Env) != 2 {
		t.Errorf("kept: %+v", kept)
	}
	// Configuration alone makes a version of the same module.
	config := w.put("/v1/apps/hello", []byte(`{"env": {"A": "2"}, "limits": {"memory": ""}}`), http.StatusCreated, asJSON...)
	if config.Version != 3 || config.Digest != kept.Digest || config.ModuleDigest != kept.ModuleDigest || config.Limits != (Limits{WallTime: "5s", Concurrency: 4}) {
		t.Errorf("configuration: %+v", config)
	}
	if env := w.container("hello").Env; len(env) != 1 || env[0].Value != "2" {
		t.Errorf("env %v", env)
	}
	// Scaling makes none.
	scaled := w.put("/v1/apps/hello", []byte(`{"replicas": 3}`), http.StatusOK, asJSON...)
	if scaled.Version != 3 || scaled.Replicas != 3 || !scaled.Ready {
		t.Errorf("scaled: %+v", scaled)
	}
	none := w.put("/v1/apps/hello", []byte(`{"replicas": 0}`), http.StatusOK, asJSON...)
	if none.Ready || len(none.Warnings) != 1 {
		t.Errorf("scaled to zero: %+v", none)
	}
	cleared := w.put("/v1/apps/hello", []byte(`{"env": {}, "args": [], "replicas": 1}`), http.StatusCreated, asJSON...)
	if c := w.container("hello"); cleared.Version != 4 || c.Env != nil || c.Args != nil {
		t.Errorf("cleared: %+v, %v %v", cleared, c.Env, c.Args)
	}
}

// How the guest runs and what it may use comes from the query or the body, and reaches the pods as annotations.
func TestDeploySandbox(t *testing.T) {
	w := newWorld(t)
	asJSON := []string{"Content-Type", "application/json"}
	first := w.put("/v1/apps/hello?isolation=fresh&http=reactor&egress=dns&egress=tcp:db.example.com:5432&cpu_time=50ms&queue=8&queue_time=2s"+
		"&max_request_body=1Mi&max_response_body=2Mi&call_depth=500&max_files=16", apptest.Reactor("one"), http.StatusCreated)
	want := Limits{CPUTime: "50ms", Queue: 8, QueueTime: "2s", MaxRequestBody: "1Mi", MaxResponseBody: "2Mi", CallDepth: 500, MaxFiles: 16}
	if first.Limits != want || first.Isolation != "fresh" || first.HTTP != "reactor" || len(first.Egress) != 2 {
		t.Errorf("first: %+v", first)
	}
	if c := first.ColdStart; c == nil || c.SnapshotMicros != 3000 || c.CloneP99Micros != 290 || c.ABI != "petrel-http-v1" || c.Snapshot != "yes" {
		t.Errorf("cold start: %+v", c)
	}
	for name, value := range map[string]string{
		api.AnnotationIsolation: "fresh", api.AnnotationHTTP: "reactor", api.AnnotationEgress: "dns,tcp:db.example.com:5432", api.AnnotationCPUTime: "50ms",
		api.AnnotationQueue: "8", api.AnnotationQueueTime: "2s", api.AnnotationMaxRequestBody: "1Mi", api.AnnotationMaxResponseBody: "2Mi",
		api.AnnotationCallDepth: "500", api.AnnotationMaxFiles: "16",
	} {
		if got := w.annotations("hello")[name]; got != value {
			t.Errorf("annotation %s is %q, want %q", name, got, value)
		}
	}
	second := w.put("/v1/apps/hello", []byte(`{"isolation": "", "egress": [], "limits": {"cpu_time": "", "queue": 0, "max_files": 32}}`), http.StatusCreated, asJSON...)
	want.CPUTime, want.Queue, want.MaxFiles = "", 0, 32
	if second.Limits != want || second.Isolation != "" || second.HTTP != "reactor" || second.Egress != nil {
		t.Errorf("second: %+v", second)
	}
	if a := w.annotations("hello"); a[api.AnnotationIsolation] != "" || a[api.AnnotationEgress] != "" || a[api.AnnotationCPUTime] != "" || a[api.AnnotationMaxFiles] != "32" {
		t.Errorf("annotations %v", a)
	}
}

func (w *world) annotations(app string) map[string]string {
	w.Helper()
	for _, d := range apptest.All[*appsv1.Deployment](w.store) {
		if d.Name == app {
			return d.Spec.Template.Annotations
		}
	}
	w.Fatalf("no deployment %s", app)
	return nil
}

func (w *world) container(app string) corev1.Container {
	w.Helper()
	for _, d := range apptest.All[*appsv1.Deployment](w.store) {
		if d.Name == app {
			return d.Spec.Template.Spec.Containers[0]
		}
	}
	w.Fatalf("no deployment %s", app)
	return corev1.Container{}
}

func TestDeployImage(t *testing.T) {
	w := newWorld(t)
	digest, _, err := w.registry.PutModule(t.Context(), "other/shared", bytes.NewReader(apptest.Reactor("one")), nil)
	if err != nil {
		t.Fatal(err)
	}
	asJSON := []string{"Content-Type", "application/json"}
	for i, image := range []string{
		"registry.petrel.internal/other/shared@" + digest,
		"127.0.0.1:8080/other/shared@" + digest,
		"other/shared@" + digest,
	} {
		out := w.put(fmt.Sprintf("/v1/apps/app%d", i), []byte(`{"image": "`+image+`"}`), http.StatusCreated, asJSON...)
		if out.Digest != digest || out.ModuleDigest == "" || len(out.Warnings) != 0 {
			t.Errorf("%s: %+v", image, out)
		}
	}
	foreign := "registry.example/team/app@sha256:" + strings.Repeat("ab", 32)
	out := w.put("/v1/apps/foreign", []byte(`{"image": "`+foreign+`"}`), http.StatusCreated, asJSON...)
	if len(out.Warnings) != 1 || out.ModuleDigest != "" {
		t.Errorf("foreign: %+v", out)
	}
	for image, code := range map[string]string{
		"default/none:v1":             "image_not_found",
		"registry.example/team/app:1": "image_not_pinned",
		"UPPER":                       "invalid_image",
	} {
		w.problem(http.MethodPut, "/v1/apps/bad", []byte(`{"image": "`+image+`"}`), 422, code, asJSON...)
	}
	if n := w.count("bad"); n != 0 {
		t.Errorf("%d apps of refused images", n)
	}
}

func (w *world) count(app string) int {
	n := 0
	for _, a := range apptest.All[*api.App](w.store) {
		if a.Name == app {
			n++
		}
	}
	return n
}

func TestDeployRefusals(t *testing.T) {
	w := newWorld(t)
	cases := []struct {
		name, path string
		body       []byte
		headers    []string
		status     int
		code       string
		words      []string
	}{
		{"text", "/v1/apps/bad", []byte("#!/bin/sh\n"), nil, 422, "not_wasm", nil},
		{"empty", "/v1/apps/bad", nil, nil, 422, "not_wasm", nil},
		{"cut off", "/v1/apps/bad", apptest.Reactor("one")[:20], nil, 422, "malformed", nil},
		{"component", "/v1/apps/bad", []byte("\x00asm\x0d\x00\x01\x00"), nil, 422, "component_not_supported", nil},
		{"unresolved import", "/v1/apps/bad", apptest.Importing(), nil, 422, "unresolved_import", []string{"env", "frobnicate"}},
		{"command as a reactor", "/v1/apps/bad?http=reactor", apptest.Command(), nil, 422, "http_mode_impossible", []string{"petrel_http_v1_handle", "wagi"}},
		{"command as a server", "/v1/apps/bad?http=sockets", apptest.Command(), nil, 422, "http_mode_impossible", []string{"sock_accept"}},
		{"reactor as WAGI", "/v1/apps/bad?http=wagi", apptest.Reactor("x"), nil, 422, "http_mode_impossible", []string{"it is a reactor"}},
		{"upper-case name", "/v1/apps/Bad", apptest.Reactor("x"), nil, 422, "invalid_name", []string{"50"}},
		{"long name", "/v1/apps/" + strings.Repeat("x", 51), apptest.Reactor("x"), nil, 422, "invalid_name", []string{"50"}},
		{"bad namespace", "/v1/apps/bad?namespace=A_b", apptest.Reactor("x"), nil, 422, "invalid_name", nil},
		{"unknown namespace", "/v1/apps/bad?namespace=none", apptest.Reactor("x"), nil, 404, "namespace_not_found", []string{"none"}},
		{"unknown parameter", "/v1/apps/bad?replica=2", apptest.Reactor("x"), nil, 400, "bad_request", []string{"replicas"}},
		{"bad replicas", "/v1/apps/bad?replicas=many", apptest.Reactor("x"), nil, 400, "bad_request", nil},
		{"too many replicas", "/v1/apps/bad?replicas=1000000", apptest.Reactor("x"), nil, 422, "invalid", []string{"spec.replicas"}},
		{"bad memory", "/v1/apps/bad?memory=lots", apptest.Reactor("x"), nil, 422, "invalid", []string{"limits.memory"}},
		{"bad wall time", "/v1/apps/bad?wall_time=1", apptest.Reactor("x"), nil, 422, "invalid", []string{"limits.wall_time"}},
		{"bad CPU time", "/v1/apps/bad?cpu_time=0s", apptest.Reactor("x"), nil, 422, "invalid", []string{"spec.limits.cpuTime", "1h0m0s"}},
		{"bad queue", "/v1/apps/bad?queue=long", apptest.Reactor("x"), nil, 400, "bad_request", []string{"queue=2"}},
		{"bad isolation", "/v1/apps/bad?isolation=some", apptest.Reactor("x"), nil, 422, "invalid", []string{"spec.isolation", "reset", "fresh", "shared"}},
		{"bad http", "/v1/apps/bad?http=cgi", apptest.Reactor("x"), nil, 422, "invalid", []string{"spec.http", "wagi"}},
		{"no grant", "/v1/apps/bad?egress=tcp:nowhere", apptest.Reactor("x"), nil, 422, "invalid", []string{"egress", "tcp:nowhere"}},
		{"bad egress", "/v1/apps/bad?egress=a,b", apptest.Reactor("x"), nil, 422, "invalid", []string{"spec.egress[0]"}},
		{"bad env", "/v1/apps/bad?env=A", apptest.Reactor("x"), nil, 400, "bad_request", []string{"NAME=value"}},
		{"bad timeout", "/v1/apps/bad?timeout=1h", apptest.Reactor("x"), nil, 400, "bad_request", []string{"10m"}},
		{"other type", "/v1/apps/bad", []byte("<x/>"), []string{"Content-Type", "text/xml"}, 415, "unsupported_media_type", []string{"application/wasm"}},
		{"no JSON", "/v1/apps/bad", []byte("{"), []string{"Content-Type", "application/json"}, 400, "bad_request", []string{"image"}},
		{"unknown field", "/v1/apps/bad", []byte(`{"imagee": "x"}`), []string{"Content-Type", "application/json"}, 400, "bad_request", []string{"imagee"}},
		{"nothing to deploy", "/v1/apps/bad", []byte(`{"replicas": 1}`), []string{"Content-Type", "application/json"}, 404, "not_found", nil},
		{"large JSON", "/v1/apps/bad", []byte(`{"image": "` + strings.Repeat("x", maxRequestJSON) + `"}`), []string{"Content-Type", "application/json"}, 413, "too_large", []string{"1 MiB"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := w.problem(http.MethodPut, c.path, c.body, c.status, c.code, c.headers...)
			all := fmt.Sprintf("%+v", p)
			for _, word := range c.words {
				if !strings.Contains(all, word) {
					t.Errorf("no %q in %s", word, all)
				}
			}
		})
	}
	if apps, revisions := len(apptest.All[*api.App](w.store)), len(apptest.All[*api.Revision](w.store)); apps+revisions > 0 {
		t.Errorf("refused deploys left %d apps and %d revisions", apps, revisions)
	}
}

func TestDeployTooLarge(t *testing.T) {
	w := newWorld(t)
	// By its length: at once for who asks first, and readably for who does not.
	for _, expect := range []string{"100-continue", ""} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.http.URL+"/v1/apps/big", &zeros{left: MaxModule + 1})
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = MaxModule + 1
		req.Header.Set("Expect", expect)
		client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge || resp.Header.Get("Content-Type") != ProblemMediaType {
			t.Errorf("Expect %q: %s", expect, resp.Status)
		}
	}
	// And where no length was told, by counting.
	body, err := newSpool(t.TempDir(), &zeros{left: 101}, 100)
	if err == nil {
		body.Close()
		t.Fatal("a body beyond the limit was taken")
	}
	if p := bodyProblem(err, "module", MaxModule); p.Status != 413 || !strings.Contains(p.Detail, "64 MiB") {
		t.Errorf("by counting: %+v", p)
	}
}

type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, errEOF
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	z.left -= n
	return int(n), nil
}

func TestDryRun(t *testing.T) {
	w := newWorld(t)
	plan := func(path string, body []byte, headers ...string) Plan {
		t.Helper()
		a := w.do(http.MethodPut, path, body, headers...)
		if a.StatusCode != http.StatusOK {
			t.Fatalf("%s\n%s", a.Status, a.body)
		}
		return decode[Plan](w, a)
	}
	if p := plan("/v1/apps/hello?dry_run=1", apptest.Reactor("one")); p.Action != "create" || p.Version != 1 || !slices.Contains(p.Changes, "code") {
		t.Errorf("create: %+v", p)
	}
	if n := w.count("hello"); n != 0 {
		t.Fatal("a dry run made an app")
	}
	if _, _, err := w.registry.OpenModule(t.Context(), "default/hello", "latest"); err == nil {
		t.Error("a dry run stored the module")
	}
	w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated)
	if p := plan("/v1/apps/hello?dry_run=true", apptest.Reactor("one")); p.Action != "none" || p.Version != 1 || len(p.Changes) != 0 {
		t.Errorf("none: %+v", p)
	}
	if p := plan("/v1/apps/hello?dry_run&env=A=b", apptest.Reactor("two")); p.Action != "update" || p.Version != 2 || p.Previous.Version != 1 || !slices.Equal(p.Changes, []string{"code", "env"}) {
		t.Errorf("update: %+v", p)
	}
	if p := plan("/v1/apps/hello?dry_run=1", []byte(`{"replicas": 4}`), "Content-Type", "application/json"); p.Action != "scale" || p.Version != 1 {
		t.Errorf("scale: %+v", p)
	}
	w.problem(http.MethodPut, "/v1/apps/hello?dry_run=1", apptest.Importing(), 422, "unresolved_import")
	if n := len(apptest.All[*api.Revision](w.store)); n != 1 {
		t.Errorf("%d revisions", n)
	}
}

// Many deploys at once: each has a version of its own, none is lost, and the highest one serves.
func TestConcurrentDeploys(t *testing.T) {
	w := newWorld(t)
	const deployers = 12
	versions := make([]int64, deployers)
	var group sync.WaitGroup
	for i := range deployers {
		group.Go(func() {
			a := w.do(http.MethodPut, "/v1/apps/hello?wait=false", apptest.Reactor(fmt.Sprint(i)))
			if a.StatusCode != http.StatusCreated {
				t.Errorf("%s\n%s", a.Status, a.body)
				return
			}
			versions[i] = decode[Deployed](w, a).Version
		})
	}
	group.Wait()
	sorted := slices.Sorted(slices.Values(versions))
	if len(slices.Compact(slices.Clone(sorted))) != deployers {
		t.Errorf("versions are not distinct: %v", sorted)
	}
	w.eventually("the highest version to serve", func() error {
		a := decode[App](w, w.do(http.MethodGet, "/v1/apps/hello", nil))
		if !a.Ready || a.Version != sorted[deployers-1] {
			return fmt.Errorf("%+v", a)
		}
		return nil
	})
	seen := map[string]bool{}
	for _, r := range apptest.All[*api.Revision](w.store) {
		if seen[r.Spec.Image] {
			t.Errorf("two revisions of %s", r.Spec.Image)
		}
		seen[r.Spec.Image] = true
	}
}

// The tries end, and the answer says why.
func TestDeployGivesUpOnConflicts(t *testing.T) {
	w := newWorld(t)
	w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated)
	w.forbid(func(verb string, obj api.Object) error {
		if _, ok := obj.(*api.App); ok && verb == "update" {
			return apierrors.NewConflict(api.AppResource.GVR.GroupResource(), obj.GetName(), fmt.Errorf("always"))
		}
		return nil
	})
	w.problem(http.MethodPut, "/v1/apps/hello", apptest.Reactor("two"), http.StatusConflict, "conflict")
}

func (w *world) forbid(rule func(verb string, obj api.Object) error) { w.store.SetBeforeWrite(rule) }

// A command serves too; the answer says how, because it may have been meant to run once.
func TestDeployCommand(t *testing.T) {
	w := newWorld(t)
	out := w.put("/v1/apps/tool", apptest.Command(), http.StatusCreated)
	if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "WAGI") || !strings.Contains(out.Warnings[0], "petrel run") {
		t.Errorf("warnings %q", out.Warnings)
	}
	if out := w.put("/v1/apps/tool?http=wagi", apptest.Command(), http.StatusCreated); len(out.Warnings) != 0 {
		t.Errorf("asked for, it warns: %q", out.Warnings)
	}
}

func TestDeployAsText(t *testing.T) {
	w := newWorld(t)
	w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated)
	a := w.do(http.MethodPut, "/v1/apps/hello", apptest.Reactor("two"), "Accept", "text/plain")
	for _, want := range []string{"hello live: version 1 → 2", "http://hello.localhost:8081/", "cold start  4.2ms", "compile     150.0ms", "first response"} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("no %q in\n%s", want, a.body)
		}
	}
	if a.StatusCode != http.StatusCreated || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%s %s", a.Status, a.Header.Get("Content-Type"))
	}
}

// An app that was applied, not deployed, is resolved and checked like any other.
func TestAppliedApp(t *testing.T) {
	w := newWorld(t)
	if _, _, err := w.registry.PutModule(t.Context(), "default/hello", bytes.NewReader(apptest.Reactor("one")), nil); err != nil {
		t.Fatal(err)
	}
	digest, _, err := w.registry.PutModule(t.Context(), "default/tool", bytes.NewReader(apptest.Importing()), nil)
	if err != nil {
		t.Fatal(err)
	}
	tool := &api.App{}
	tool.Namespace, tool.Name, tool.Spec.Image = "default", "tool", "default/tool@"+digest
	if _, err := w.store.Create(t.Context(), tool); err != nil {
		t.Fatal(err)
	}
	w.eventually("the module to be refused", func() error {
		a := decode[App](w, w.do(http.MethodGet, "/v1/apps/tool", nil))
		if a.Reason != api.ReasonInvalid || !strings.Contains(a.Message, "frobnicate") {
			return fmt.Errorf("%+v", a)
		}
		return nil
	})
	// A deploy over it mends it.
	if out := w.put("/v1/apps/tool", apptest.Reactor("one"), http.StatusCreated); out.Version != 1 {
		t.Errorf("%+v", out)
	}
}
