package apiserver

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func statusIn(t *testing.T, body string) metav1.Status {
	t.Helper()
	var s metav1.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || s.Kind != "Status" || s.APIVersion != "v1" {
		t.Fatalf("no Status: %v in %s", err, body)
	}
	return s
}

func TestErrorsAreStatuses(t *testing.T) {
	ns := space(t)
	pods := "/api/v1/namespaces/" + ns + "/pods"
	tests := []struct {
		name, method, path, body string
		headers                  []string
		code                     int
		reason                   metav1.StatusReason
		text                     string
	}{
		{"no route", "GET", "/nope", "", nil, 404, "NotFound", "could not find"},
		{"no resource", "GET", "/api/v1/endpoints", "", nil, 404, "NotFound", ""},
		{"no object", "GET", pods + "/x", "", nil, 404, "NotFound", `pods "x" not found`},
		{"wrong method", "PUT", pods, "", nil, 405, "MethodNotAllowed", ""},
		{"empty body", "POST", pods, "", nil, 400, "BadRequest", "empty"},
		{"no JSON", "POST", pods, "{", nil, 400, "BadRequest", "Pod"},
		{"other kind", "POST", pods, `{"kind":"Node","apiVersion":"v1"}`, nil, 400, "BadRequest", "Node"},
		{"unknown kind", "POST", pods, `{"kind":"X","apiVersion":"y/v1"}`, nil, 400, "BadRequest", ""},
		{"strict", "POST", pods + "?fieldValidation=Strict", `{"metadata":{"name":"p"},"x":1}`, nil, 400, "BadRequest", "unknown field"},
		{"bad option", "POST", pods + "?fieldValidation=Never", `{}`, nil, 422, "Invalid", "fieldValidation"},
		{"bad dry run", "POST", pods + "?dryRun=Some", `{}`, nil, 422, "Invalid", "dryRun"},
		{"long manager", "POST", pods + "?fieldManager=" + strings.Repeat("x", 200), `{}`, nil, 422, "Invalid", "fieldManager"},
		{"unprintable manager", "POST", pods + "?fieldManager=%01", `{}`, nil, 422, "Invalid", "fieldManager"},
		{"media type", "POST", pods, `x`, []string{"Content-Type: text/csv"}, 415, "UnsupportedMediaType", "text/csv"},
		{"broken media type", "POST", pods, `x`, []string{"Content-Type: ;;"}, 415, "UnsupportedMediaType", ""},
		{"patch type", "PATCH", pods + "/x", `{}`, nil, 415, "UnsupportedMediaType", "application/merge-patch+json"},
		{"apply without a manager", "PATCH", pods + "/x", `{}`, []string{"Content-Type: application/apply-patch+yaml"}, 422, "Invalid", "fieldManager"},
		{"force without an apply", "PATCH", pods + "/x?force=true", `{}`, []string{"Content-Type: application/merge-patch+json"}, 422, "Invalid", "force"},
		{"not acceptable", "GET", pods, "", []string{"Accept: text/html"}, 406, "NotAcceptable", "application/json"},
		{"table in protobuf", "GET", pods, "", []string{"Accept: application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1"}, 406, "NotAcceptable", ""},
		{"own kind in protobuf", "GET", "/apis/petrel.run/v1alpha1/apps", "", []string{"Accept: application/vnd.kubernetes.protobuf;as=Table"}, 406, "NotAcceptable", ""},
		{"old table", "GET", pods, "", []string{"Accept: application/json;as=Table;g=meta.k8s.io;v=v1beta1"}, 406, "NotAcceptable", ""},
		{"list with initial events", "GET", pods + "?sendInitialEvents=true", "", nil, 422, "Invalid", "sendInitialEvents"},
		{"match without a version", "GET", pods + "?resourceVersionMatch=Exact", "", nil, 422, "Invalid", ""},
		{"exactly 0", "GET", pods + "?resourceVersionMatch=Exact&resourceVersion=0", "", nil, 422, "Invalid", ""},
		{"unknown match", "GET", pods + "?resourceVersionMatch=Some&resourceVersion=1", "", nil, 422, "Invalid", ""},
		{"limit", "GET", pods + "?limit=x", "", nil, 400, "BadRequest", "limit"},
		{"include", "GET", pods + "?includeObject=Some", "", []string{"Accept: application/json;as=Table;g=meta.k8s.io;v=v1"}, 400, "BadRequest", "includeObject"},
		{"long selector", "GET", pods + "?labelSelector=" + strings.Repeat("x", maxSelectorBytes+1), "", nil, 400, "BadRequest", "selector"},
		{"delete options", "DELETE", pods + "/x", `{"kind":"Pod","apiVersion":"v1"}`, nil, 400, "BadRequest", ""},
		{"delete dry run", "DELETE", pods + "/x", `{"dryRun":["x"]}`, nil, 400, "BadRequest", "dryRun"},
		{"grace", "DELETE", pods + "/x?gracePeriodSeconds=x", "", nil, 400, "BadRequest", "gracePeriodSeconds"},
		{"propagation", "DELETE", pods + "/x?propagationPolicy=x", "", nil, 404, "NotFound", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			headers := tt.headers
			if headers == nil {
				headers = []string{"Content-Type: application/json"}
			}
			resp, body := request(t, tt.method, tt.path, tt.body, headers...)
			s := statusIn(t, body)
			if resp.StatusCode != tt.code || s.Code != int32(tt.code) || s.Reason != tt.reason || s.Status != "Failure" || !strings.Contains(s.Message, tt.text) {
				t.Errorf("%s %s", resp.Status, body)
			}
		})
	}
}

func TestBodiesAreBounded(t *testing.T) {
	ns := space(t)
	big := `{"metadata":{"name":"big"},"data":{"k":"` + strings.Repeat("x", MaxRequestBody) + `"}}`
	resp, body := request(t, "POST", "/api/v1/namespaces/"+ns+"/configmaps", big, "Content-Type: application/json")
	if s := statusIn(t, body); resp.StatusCode != http.StatusRequestEntityTooLarge || s.Reason != metav1.StatusReasonRequestEntityTooLarge {
		t.Errorf("%s %s", resp.Status, body)
	}
	stored := `{"metadata":{"name":"big"},"data":{"k":"` + strings.Repeat("x", 2<<20) + `"}}`
	if resp, body = request(t, "POST", "/api/v1/namespaces/"+ns+"/configmaps", stored, "Content-Type: application/json"); resp.StatusCode < 400 || resp.StatusCode >= 500 {
		t.Errorf("more than the store takes: %s %.200s", resp.Status, body)
	}
}

func TestForeignPagesAreRefused(t *testing.T) {
	for name, headers := range map[string][]string{
		"host": {"Host: evil.example"}, "origin": {"Origin: https://evil.example"}, "fetch": {"Sec-Fetch-Site: cross-site"},
	} {
		for _, path := range []string{"/api", "/api/v1/pods", "/v1/apps", "/nope", "/healthz", "/metrics", "/openapi/v3"} {
			resp, body := request(t, "GET", path, "", headers...)
			if s := statusIn(t, body); resp.StatusCode != http.StatusForbidden || s.Reason != metav1.StatusReasonForbidden {
				t.Errorf("%s on %s: %s %s", name, path, resp.Status, body)
			}
		}
	}
}

func TestMounts(t *testing.T) {
	for _, path := range []string{"/v1/apps/hello", "/v1"} {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE"} {
			resp, body := request(t, method, path, "")
			if resp.StatusCode != 200 || body != "mounted "+path {
				t.Errorf("%s %s: %s %s", method, path, resp.Status, body)
			}
		}
	}
}

func TestTooManyRequestsAtOnce(t *testing.T) {
	s := &Server{cfg: server.cfg, inflight: newInflight(0, 0)}
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) { s.writeError(c, err) }
	e.GET("/", s.limited(false, func(echo.Context) error { return errors.New("it was let in") }))
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if st := statusIn(t, w.Body.String()); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || st.Details.RetryAfterSeconds != 1 {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	f := newInflight(1, 1)
	done, ok := f.enter(false)
	if !ok {
		t.Fatal("the first is refused")
	}
	if _, ok := f.enter(false); ok {
		t.Error("the second is let in")
	}
	if _, ok := f.enter(true); !ok {
		t.Error("reads keep writes out")
	}
	done()
	if _, ok := f.enter(false); !ok {
		t.Error("the place is not free again")
	}
}

func TestPanicsAreAnswered(t *testing.T) {
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) { server.writeError(c, err) }
	e.Use(server.recover)
	e.GET("/", func(echo.Context) error { panic("oh") })
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if s := statusIn(t, w.Body.String()); w.Code != 500 || s.Reason != metav1.StatusReasonInternalError || strings.Contains(s.Message, "oh") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestForms(t *testing.T) {
	ns := space(t)
	path := "/api/v1/namespaces/" + ns + "/configmaps"
	yaml := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\ndata: {k: v}\n"
	resp, body := request(t, "POST", path, yaml, "Content-Type: application/yaml", "Accept: application/yaml")
	if resp.StatusCode != 201 || resp.Header.Get("Content-Type") != contentYAML || !strings.Contains(body, "\nkind: ConfigMap\n") {
		t.Errorf("YAML: %s %s", resp.Status, body)
	}
	for accept, want := range map[string]string{
		"":                               contentJSON,
		"*/*":                            contentJSON,
		"text/html, application/*;q=0.1": contentJSON,
		contentProtobuf:                  contentProtobuf,
		contentProtobuf + ";q=0.1, application/json":                     contentJSON,
		"application/yaml":                                               contentYAML,
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json":  contentJSON,
		contentProtobuf + ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io": contentProtobuf,
		contentProtobuf + ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io, application/json;as=Table;v=v1;g=meta.k8s.io": contentProtobuf,
	} {
		for _, p := range []string{path, path + "/yaml"} {
			resp, body := request(t, "GET", p, "", "Accept: "+accept)
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != want {
				t.Errorf("%q on %s: %s %s %s", accept, p, resp.Status, resp.Header.Get("Content-Type"), body)
			}
			if want == contentProtobuf && !strings.HasPrefix(body, string(magic)) {
				t.Errorf("%q: no magic", accept)
			}
		}
	}
	for query, want := range map[string]bool{"": false, "?pretty": true, "?pretty=true": true, "?pretty=0": false, "?pretty=false": false} {
		if _, body := request(t, "GET", path+"/yaml"+query, "", "User-Agent: kubectl"); strings.Contains(body, "\n  ") != want {
			t.Errorf("%q: pretty is not %v", query, want)
		}
	}
	if _, body := request(t, "GET", path, "", "User-Agent: curl/8"); !strings.Contains(body, "\n  ") {
		t.Error("curl shows one long line")
	}
}

func TestNamesInPathsAreDecoded(t *testing.T) {
	ns := space(t)
	if _, err := client(t, contentJSON).CoreV1().ConfigMaps(ns).Create(t.Context(), newConfigMap("a.b"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for path, code := range map[string]int{"a.b": 200, "a%2Eb": 200, "%61.b": 200, "a%2Fb": 400, "%2E%2E": 400, "a%252Eb": 404} {
		if resp, body := request(t, "GET", "/api/v1/namespaces/"+ns+"/configmaps/"+path, ""); resp.StatusCode != code {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
}

func TestTables(t *testing.T) {
	ns := space(t)
	if _, err := client(t, contentJSON).CoreV1().Pods(ns).Create(t.Context(), newPod("p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	accept := "Accept: application/json;as=Table;v=v1;g=meta.k8s.io"
	for _, path := range []string{"/pods", "/pods/p"} {
		for include, object := range map[string]string{"": "PartialObjectMetadata", "None": "", "Object": "Pod"} {
			_, body := request(t, "GET", "/api/v1/namespaces/"+ns+path+"?includeObject="+include, "", accept)
			var table metav1.Table
			if err := json.Unmarshal([]byte(body), &table); err != nil || table.Kind != "Table" || len(table.Rows) != 1 || table.ResourceVersion == "" {
				t.Fatalf("%v %s", err, body)
			}
			if table.ColumnDefinitions[0].Name != "Name" || table.Rows[0].Cells[0] != "p" || table.Rows[0].Cells[2] != "Pending" {
				t.Errorf("%+v", table)
			}
			var typ metav1.TypeMeta
			if raw := table.Rows[0].Object.Raw; raw != nil && string(raw) != "null" {
				if err := json.Unmarshal(raw, &typ); err != nil {
					t.Fatal(err)
				}
			}
			if typ.Kind != object {
				t.Errorf("include %q shows a %q", include, typ.Kind)
			}
		}
	}
	_, body := request(t, "GET", "/api/v1/namespaces/"+ns+"/secrets", "", accept)
	if !strings.Contains(body, `"rows":[]`) || !strings.Contains(body, `"name":"Data"`) {
		t.Errorf("empty table: %s", body)
	}
}

func TestConfigValidates(t *testing.T) {
	ok := http.NotFoundHandler()
	for name, c := range map[string]Config{
		"no registry": {}, "everywhere": {Registry: registry, Listen: ":8080"}, "a network": {Registry: registry, Listen: "0.0.0.0:1"},
		"no port": {Registry: registry, Listen: "127.0.0.1"}, "a name": {Registry: registry, Listen: "example.com:80"},
		"mount": {Registry: registry, Mounts: map[string]http.Handler{"v1": ok}}, "root": {Registry: registry, Mounts: map[string]http.Handler{"/": ok}},
		"the API": {Registry: registry, Mounts: map[string]http.Handler{"/api/v1/": ok}}, "nothing": {Registry: registry, Mounts: map[string]http.Handler{"/x/": nil}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{Registry: registry, Listen: "0.0.0.0:80"}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("the message does not say why: %v", err)
	}
}
