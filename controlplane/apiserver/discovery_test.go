package apiserver

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	openapi "github.com/google/gnostic-models/openapiv2"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/petrelrun/petrel/controlplane/resource"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestDiscoveryGolden holds the documents that clients find their way by to what was reviewed.
func TestDiscoveryGolden(t *testing.T) {
	paths := map[string]string{"/api": "", "/apis": "", "/api/v1": "", "/apis/apps": "", "/apis/apps/v1": "", "/apis/petrel.run/v1alpha1": ""}
	paths["/api#aggregated"], paths["/apis#aggregated"] = discovery.AcceptV2, discovery.AcceptV2
	for path, accept := range paths {
		url, _, _ := strings.Cut(path, "#")
		resp, body := request(t, "GET", url, "", "Accept: "+accept)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, resp.Status)
		}
		if _, again := request(t, "GET", url+"/", "", "Accept: "+accept); again != body {
			t.Errorf("%s/ is not %s", url, url)
		}
		var got bytes.Buffer
		if err := json.Indent(&got, []byte(body), "", "  "); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "discovery", strings.NewReplacer("/", "_", "#", "_").Replace(strings.Trim(path, "/"))+".json")
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got.Bytes()) {
			t.Errorf("%s differs from %s; review and run with -update:\n%s", path, file, got.Bytes())
		}
	}
}

func TestDiscoveryIsCached(t *testing.T) {
	for _, path := range []string{"/api", "/apis"} {
		resp, _ := request(t, "GET", path, "", "Accept: "+discovery.AcceptV2)
		etag := resp.Header.Get("ETag")
		if resp.Header.Get("Content-Type") != contentAggregated || etag == "" || resp.Header.Get("Vary") != "Accept" {
			t.Errorf("%s: %v", path, resp.Header)
		}
		resp, body := request(t, "GET", path, "", "Accept: "+discovery.AcceptV2, "If-None-Match: "+etag)
		if resp.StatusCode != http.StatusNotModified || body != "" {
			t.Errorf("%s again: %s", path, resp.Status)
		}
		if resp, _ = request(t, "GET", path, "", "Accept: "+discovery.AcceptV2, `If-None-Match: "old"`); resp.StatusCode != http.StatusOK {
			t.Errorf("%s after a change: %s", path, resp.Status)
		}
		if resp, _ = request(t, "GET", path, "", "Accept: "+contentJSON+", "+discovery.AcceptV2); resp.Header.Get("Content-Type") != contentJSON {
			t.Errorf("%s to one who prefers the old: %s", path, resp.Header.Get("Content-Type"))
		}
	}
}

func TestDiscoveryClient(t *testing.T) {
	d, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: base})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]discovery.DiscoveryInterface{"aggregated": d, "legacy": d.WithLegacy()} {
		_, lists, err := c.ServerGroupsAndResources()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		for _, l := range lists {
			for _, r := range l.APIResources {
				got = append(got, l.GroupVersion+"/"+r.Name)
			}
		}
		for _, def := range resource.Definitions() {
			for _, want := range append([]string{""}, subNames(def)...) {
				if !slices.Contains(got, def.GVR.GroupVersion().String()+"/"+def.GVR.Resource+want) {
					t.Errorf("%s: no %s%s", name, def.GVR, want)
				}
			}
		}
	}
	info, err := d.ServerVersion()
	if err != nil || info.GitVersion != gitVersion || info.Major != "1" {
		t.Errorf("version %+v, %v", info, err)
	}
	doc, err := d.OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	checkV2(t, doc)
}

func subNames(d *resource.Definition) []string {
	var out []string
	for _, s := range d.Subresources {
		out = append(out, "/"+s.Name)
	}
	return out
}

func checkV2(t *testing.T, doc *openapi.Document) {
	t.Helper()
	names := map[string]int{}
	for _, s := range doc.GetDefinitions().GetAdditionalProperties() {
		names[s.GetName()]++
	}
	for _, want := range []string{"io.k8s.api.core.v1.Pod", resource.SchemaPrefix() + "App"} {
		if names[want] != 1 {
			t.Errorf("version 2 has %s %d times", want, names[want])
		}
	}
	for name, n := range names {
		if n != 1 {
			t.Errorf("version 2 has %s %d times", name, n)
		}
	}
}

// operations lists "METHOD path" of every documented operation, parameters renamed to what echo calls them.
func operations(t *testing.T, paths map[string]map[string]json.RawMessage) []string {
	t.Helper()
	var out []string
	for path, item := range paths {
		path = strings.NewReplacer("{namespace}", ":ns", "{name}", ":name", "{path}", "*").Replace(path)
		if rest, ok := strings.CutPrefix(path, "/api/v1/namespaces/:name"); ok {
			path = "/api/v1/namespaces/:name" + rest
		}
		for method := range item {
			if slices.Contains([]string{"get", "put", "post", "patch", "delete", "head", "options"}, method) {
				out = append(out, strings.ToUpper(method)+" "+path)
			}
		}
	}
	return out
}

// TestOpenAPIIsWhatIsRouted holds the documents to the routes, both ways: clients believe them.
func TestOpenAPIIsWhatIsRouted(t *testing.T) {
	var index struct {
		Paths map[string]struct {
			URL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	_, body := request(t, "GET", "/openapi/v3", "")
	if err := json.Unmarshal([]byte(body), &index); err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for path, entry := range index.Paths {
		resp, body := request(t, "GET", entry.URL, "")
		if resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Fatalf("%s: %s %v", path, resp.Status, resp.Header)
		}
		var doc struct {
			Paths      map[string]map[string]json.RawMessage `json:"paths"`
			Components struct {
				Schemas map[string]json.RawMessage `json:"schemas"`
			} `json:"components"`
		}
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatal(err)
		}
		for _, op := range operations(t, doc.Paths) {
			documented[op] = true
		}
		for _, ref := range regexp.MustCompile(`"\$ref":"#/components/schemas/([^"]*)"`).FindAllStringSubmatch(body, -1) {
			if doc.Components.Schemas[ref[1]] == nil {
				t.Errorf("%s refers to %s, which it has not", path, ref[1])
			}
		}
		if strings.Contains(body, "cbor") {
			t.Errorf("%s speaks of CBOR", path)
		}
	}
	routed := map[string]bool{}
	for _, r := range server.echo.Routes() {
		routed[r.Method+" "+r.Path] = true
	}
	for _, op := range slices.Sorted(maps.Keys(documented)) {
		if !routed[op] && !routed[op+"/"] {
			t.Errorf("documented, not routed: %s", op)
		}
	}
	for _, op := range slices.Sorted(maps.Keys(routed)) {
		if strings.Contains(op, " /api") && strings.Contains(op, ":") && !documented[op] {
			t.Errorf("routed, not documented: %s", op)
		}
	}
}

// kubectl looks here for whether the server knows dry runs and field validation.
func TestOpenAPISaysWhatKubectlAsks(t *testing.T) {
	for doc, path := range map[string]string{
		"api/v1": "/api/v1/namespaces/{namespace}/pods/{name}", "apis/apps/v1": "/apis/apps/v1/namespaces/{namespace}/deployments/{name}",
		"apis/petrel.run/v1alpha1": "/apis/petrel.run/v1alpha1/namespaces/{namespace}/apps/{name}",
	} {
		_, body := request(t, "GET", "/openapi/v3/"+doc, "")
		var d struct {
			Paths map[string]struct {
				Patch struct {
					Parameters []struct {
						Name string `json:"name"`
					} `json:"parameters"`
					GVK struct {
						Kind string `json:"kind"`
					} `json:"x-kubernetes-group-version-kind"`
				} `json:"patch"`
			} `json:"paths"`
		}
		if err := json.Unmarshal([]byte(body), &d); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range d.Paths[path].Patch.Parameters {
			names = append(names, p.Name)
		}
		if !slices.Contains(names, "dryRun") || !slices.Contains(names, "fieldValidation") || d.Paths[path].Patch.GVK.Kind == "" {
			t.Errorf("%s: %v", doc, names)
		}
	}
	resp, body := request(t, "GET", "/openapi/v2", "", "Accept: application/json")
	if resp.StatusCode != 200 || !json.Valid([]byte(body)) || !strings.Contains(body, `"`+resource.SchemaPrefix()+`App"`) {
		t.Errorf("version 2: %s", resp.Status)
	}
	if resp, _ = request(t, "GET", "/openapi/v2", "", "If-None-Match: "+resp.Header.Get("ETag")); resp.StatusCode != http.StatusNotModified {
		t.Errorf("version 2 again: %s", resp.Status)
	}
	if resp, _ = request(t, "GET", "/openapi/v3/apis/nope/v1", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("no such document: %s", resp.Status)
	}
}
