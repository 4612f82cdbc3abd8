package apps

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/apps/apptest"
)

var errEOF = io.EOF

// behave makes the pods of versions other than the first behave.
func (w *world) behave(b apptest.Behaviour) {
	first := w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated)
	w.node.SetOf(func(image string) apptest.Behaviour {
		if strings.HasSuffix(image, first.Digest) {
			return apptest.Serves
		}
		return b
	})
}

func TestFailedRollouts(t *testing.T) {
	cases := []struct {
		name      string
		behaviour apptest.Behaviour
		query     string
		status    int
		code      string
		condition string
		logs      bool
	}{
		{"crash", apptest.Crashes, "", 422, "rollout_failed", "CrashLoopBackOff", true},
		{"no image", apptest.NoImage, "", 422, "rollout_failed", "ImagePullBackOff", false},
		{"unschedulable", apptest.Unschedulable, "?timeout=200ms", 503, "unschedulable", "Unschedulable", false},
		{"hangs", apptest.Hangs, "?timeout=200ms", 504, "rollout_timeout", "Running", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.behave(c.behaviour)
			w.logs.say("hello-0002", "2030-01-01T00:00:00Z panic: no database", "2030-01-01T00:00:01Z exit 2")
			p := w.problem(http.MethodPut, "/v1/apps/hello"+c.query, apptest.Reactor("two"), c.status, c.code)
			if p.Rollout == nil || p.Rollout.Condition != c.condition || p.Rollout.Pod != "hello-0002" || p.Rollout.Version != 2 {
				t.Fatalf("rollout %+v", p.Rollout)
			}
			if p.Rollout.ElapsedMS <= 0 || p.Rollout.AllowedMS < p.Rollout.ElapsedMS/2 || p.Rollout.Serving != 1 {
				t.Errorf("rollout %+v", p.Rollout)
			}
			if got := strings.Join(p.Rollout.Logs, "|"); c.logs && got != "panic: no database|exit 2" {
				t.Errorf("last lines %q", got)
			}
			// The version before goes on serving.
			answer, err := w.gateway.Probe(t.Context(), "http://hello.localhost:8081/")
			if err != nil || answer.Pod != "hello-0001" {
				t.Errorf("the old version does not serve: %+v, %v", answer, err)
			}
			// And a good one replaces the bad one.
			w.node.SetOf(nil)
			if out := w.put("/v1/apps/hello", apptest.Reactor("three"), http.StatusCreated); out.Version != 3 {
				t.Errorf("after the failure: %+v", out)
			}
		})
	}
}

func TestFirstResponse(t *testing.T) {
	w := newWorld(t)
	w.gateway.fails.Store(5)
	w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated)
	if n := w.gateway.asked.Load(); n != 6 {
		t.Errorf("asked %d times", n)
	}
	w.gateway.status.Store(500)
	out := w.put("/v1/apps/hello", apptest.Reactor("two"), http.StatusCreated)
	if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "500") {
		t.Errorf("warnings %q", out.Warnings)
	}
	w.gateway.status.Store(404) // the app's own: it serves no start page
	if out := w.put("/v1/apps/hello", apptest.Reactor("three"), http.StatusCreated); len(out.Warnings) != 0 {
		t.Errorf("warnings %q", out.Warnings)
	}
	w.gateway.fails.Store(1 << 30)
	p := w.problem(http.MethodPut, "/v1/apps/hello?timeout=300ms", apptest.Reactor("four"), 504, "no_response")
	if !strings.Contains(p.Detail, "connection refused") {
		t.Errorf("detail %q", p.Detail)
	}
}

func TestFirstResponseFromAGatewayThatNamesNoPod(t *testing.T) {
	w := newWorld(t)
	w.gateway.silent.Store(true)
	if out := w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated); !out.Ready {
		t.Errorf("%+v", out)
	}
}

func TestDeployWithoutWaiting(t *testing.T) {
	w := newWorld(t)
	w.node.SetOf(func(string) apptest.Behaviour { return apptest.Hangs })
	out := w.put("/v1/apps/hello?wait=0", apptest.Reactor("one"), http.StatusCreated)
	if out.Ready || out.Version != 1 {
		t.Errorf("%+v", out)
	}
	if _, ok := out.Timings["first_response"]; ok {
		t.Errorf("timings %v", out.Timings)
	}
}

// A name that belongs to something else is refused, and what has it stays.
func TestDeployOverAForeignService(t *testing.T) {
	w := newWorld(t)
	foreign := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello"}}
	if _, err := w.store.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	w.problem(http.MethodPut, "/v1/apps/hello", apptest.Reactor("one"), http.StatusConflict, "name_taken")
	if s := apptest.All[*corev1.Service](w.store)[0]; len(s.OwnerReferences)+len(s.Spec.Ports) > 0 {
		t.Errorf("the foreign service was changed: %+v", s)
	}
}

func TestAppRemovedDuringARollout(t *testing.T) {
	w := newWorld(t)
	w.node.SetOf(func(string) apptest.Behaviour { return apptest.Hangs })
	done := make(chan answered, 1)
	go func() { done <- w.do(http.MethodPut, "/v1/apps/hello?timeout=20s", apptest.Reactor("one")) }()
	w.eventually("a pod to run", func() error {
		if len(apptest.All[*corev1.Pod](w.store)) == 0 {
			return io.EOF
		}
		return nil
	})
	time.Sleep(20 * time.Millisecond) // the waiting deploy has seen it by then, or sees it gone at its next look
	if a := w.do(http.MethodDelete, "/v1/apps/hello", nil); a.StatusCode != http.StatusOK {
		t.Fatal(a.Status)
	}
	select {
	case a := <-done:
		if a.StatusCode != http.StatusConflict || decode[Problem](w, a).Code != "removed" {
			t.Errorf("%s\n%s", a.Status, a.body)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("the deploy of a removed app waits on")
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	w.put("/v1/apps/b", apptest.Reactor("one"), http.StatusCreated)
	w.put("/v1/apps/a", apptest.Reactor("one"), http.StatusCreated)
	w.put("/v1/apps/c?namespace=other", apptest.Reactor("one"), http.StatusCreated)
	names := func(path string) string {
		var out []string
		for _, a := range decode[AppList](w, w.do(http.MethodGet, path, nil)).Apps {
			out = append(out, a.Namespace+"/"+a.App)
		}
		return strings.Join(out, " ")
	}
	for path, want := range map[string]string{
		"/v1/apps": "default/a default/b", "/v1/apps?namespace=other": "other/c",
		"/v1/apps?namespace=*": "default/a default/b other/c", "/v1/apps?namespace=none": "",
	} {
		w.eventually("the list "+path, func() error {
			if got := names(path); got != want {
				return &mismatch{got, want}
			}
			return nil
		})
	}
	w.eventually("the status", func() error {
		a := decode[App](w, w.do(http.MethodGet, "/v1/apps/c?namespace=other", nil))
		if a.URL != "http://c.other.localhost:8081/" || a.Version != 1 || !a.Ready || a.ColdStartMicros != 4200 || a.CompileMicros != 150_000 || a.Digest == "" {
			return &mismatch{got: a}
		}
		return nil
	})
	text := w.do(http.MethodGet, "/v1/apps", nil, "Accept", "text/plain")
	if !strings.Contains(string(text.body), "NAME") || !strings.Contains(string(text.body), "http://a.localhost:8081/") {
		t.Errorf("text:\n%s", text.body)
	}
	w.problem(http.MethodGet, "/v1/apps/none", nil, 404, "not_found")
	w.problem(http.MethodDelete, "/v1/apps/none", nil, 404, "not_found")
	w.problem(http.MethodGet, "/v1/elsewhere", nil, 404, "not_found")
	w.problem(http.MethodPost, "/v1/apps/a", nil, 405, "method_not_allowed")
	if a := w.do(http.MethodPost, "/v1/apps/a", nil); a.Header.Get("Allow") != "GET, HEAD, PUT, DELETE" {
		t.Errorf("Allow %q", a.Header.Get("Allow"))
	}
}

type mismatch struct{ got, want any }

func (m *mismatch) Error() string { return "mismatch" }

func TestVersions(t *testing.T) {
	w := newWorld(t)
	w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated)
	second := w.put("/v1/apps/hello", apptest.Reactor("two"), http.StatusCreated)
	var list VersionList
	w.eventually("both versions", func() error {
		list = decode[VersionList](w, w.do(http.MethodGet, "/v1/apps/hello/versions", nil))
		if len(list.Versions) != 2 || !list.Versions[0].Active {
			return &mismatch{got: list}
		}
		return nil
	})
	if v := list.Versions[0]; v.Version != 2 || v.Digest != second.Digest || v.ModuleDigest != second.ModuleDigest || v.Size != second.Size || v.Kind != api.KindReactor {
		t.Errorf("%+v", v)
	}
	text := w.do(http.MethodGet, "/v1/apps/hello/versions", nil, "Accept", "text/plain")
	if !strings.Contains(string(text.body), second.Digest) {
		t.Errorf("text:\n%s", text.body)
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	w.put("/v1/apps/hello", apptest.Reactor("one"), http.StatusCreated)
	out := decode[Deleted](w, w.do(http.MethodDelete, "/v1/apps/hello", nil))
	if !out.Deleted || out.App != "hello" {
		t.Errorf("%+v", out)
	}
	w.eventually("everything to go", func() error {
		if n := len(apptest.All[*corev1.Pod](w.store)) + len(apptest.All[*corev1.Service](w.store)) + len(apptest.All[*api.Revision](w.store)); n > 0 {
			return &mismatch{got: n}
		}
		return nil
	})
	// The name is free again, and versions start over.
	if again := w.put("/v1/apps/hello", apptest.Reactor("two"), http.StatusCreated); again.Version != 1 {
		t.Errorf("%+v", again)
	}
}
