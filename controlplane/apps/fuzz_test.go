package apps

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
)

// Whatever a body says, it is refused as a problem or becomes an app that the API takes.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"image": "default/hello:v1", "env": {"A": "b"}, "args": ["-v"], "replicas": 2, "limits": {"memory": "64Mi", "wall_time": "10s", "concurrency": 8}}`,
		`{"isolation": "fresh", "http": "wagi", "egress": ["dns", ""], "limits": {"cpu_time": "5ms", "queue": 1, "max_request_body": "1Mi", "call_depth": 0}}`,
		`{}`, `null`, `[]`, `{"image": ""}`, `{"replicas": -1}`, `{"limits": {"memory": "9e99999"}}`, `{"limits": {"wall_time": "-1s"}}`,
		`{"env": {"": "x"}}`, `{"a": 1, "a": 2}`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	s := &Server{cfg: Config{RegistryHosts: []string{"127.0.0.1:8080"}}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		req, p := decodeRequest(raw)
		if p != nil {
			if p.Status < 400 || p.Code == "" {
				t.Fatalf("%+v", p)
			}
			return
		}
		d := &deploy{key: types.NamespacedName{Namespace: "default", Name: "hello"}, now: time.Now}
		if s.takeRequest(req, &d.change) != nil || validateChange(d) != nil {
			return
		}
		if d.change.image != "" {
			if _, p := s.parseImage(d.change.image, d.key); p != nil {
				t.Fatalf("a valid image is refused: %+v", p)
			}
		}
		app := &api.App{}
		app.Namespace, app.Name, app.Spec.Replicas = "default", "hello", d.change.replicas
		app.Spec.AppTemplate = d.change.apply(&api.AppTemplate{})
		if errs := api.ValidateApp(app); len(errs) > 0 {
			t.Fatal(errs)
		}
		if again := d.change.apply(&app.Spec.AppTemplate); len(differences(&app.Spec.AppTemplate, &again)) != 0 {
			t.Fatal("applying a change twice changes again")
		}
	})
}

// Whatever a path and a query say, what passes is a DNS label and stays one in the app's URL.
func FuzzNames(f *testing.F) {
	f.Add("hello", "default", "wait=1&timeout=3s&env=A=b")
	f.Add("Hello", "", "timeout=-1s")
	f.Add("a.b", "../x", "replicas=99999999999")
	f.Add("a\x00", "-", "env=&memory=%zz")
	urls := URLs("127.0.0.1:8081")
	f.Fuzz(func(t *testing.T, name, namespace, query string) {
		r := httptest.NewRequest(http.MethodPut, "/v1/apps/x?namespace="+url.QueryEscape(namespace), nil)
		r.SetPathValue("app", name)
		if values, err := url.ParseQuery(query); err == nil {
			var c change
			o, p := readOptions(values, &c)
			if p == nil && (o.timeout <= 0 || o.timeout > MaxTimeout) {
				t.Fatalf("timeout %s", o.timeout)
			}
		}
		key, p := appKey(r)
		if p != nil {
			return
		}
		u, err := url.Parse(urls(key.Namespace, key.Name))
		if err != nil {
			t.Fatal(err)
		}
		want := key.Name + "." + key.Namespace + ".localhost"
		if key.Namespace == "default" {
			want = key.Name + ".localhost"
		}
		if u.Hostname() != want || len(key.Name) > api.MaxAppNameLength {
			t.Fatalf("%q gives %s", key, u)
		}
	})
}
