package apiserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

// event is one line of a JSON watch.
type event struct {
	Type   string `json:"type"`
	Object struct {
		Kind     string `json:"kind"`
		Code     int    `json:"code"`
		Reason   string `json:"reason"`
		Metadata struct {
			Name            string            `json:"name"`
			ResourceVersion string            `json:"resourceVersion"`
			Annotations     map[string]string `json:"annotations"`
		} `json:"metadata"`
		ColumnDefinitions []any `json:"columnDefinitions"`
		Rows              []any `json:"rows"`
	} `json:"object"`
}

// stream opens a watch and answers a function that reads one event.
func stream(t *testing.T, path string, headers ...string) (*http.Response, func() (event, bool)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	return resp, func() (event, bool) {
		var e event
		if !lines.Scan() {
			return e, false
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("line %q: %v", lines.Text(), err)
		}
		return e, true
	}
}

func TestWatchList(t *testing.T) {
	ns, c := space(t), client(t, contentJSON)
	for _, name := range []string{"a", "b"} {
		if _, err := c.CoreV1().ConfigMaps(ns).Create(t.Context(), newConfigMap(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	path := "/api/v1/namespaces/" + ns + "/configmaps?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
	_, next := stream(t, path)
	for _, name := range []string{"a", "b"} {
		if e, _ := next(); e.Type != "ADDED" || e.Object.Metadata.Name != name {
			t.Fatalf("got %+v, want %s", e, name)
		}
	}
	e, _ := next()
	if e.Type != "BOOKMARK" || e.Object.Kind != "ConfigMap" || e.Object.Metadata.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Fatalf("no end of the initial events: %+v", e)
	}
	if _, err := c.CoreV1().ConfigMaps(ns).Create(t.Context(), newConfigMap("c"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if e, _ = next(); e.Type != "ADDED" || e.Object.Metadata.Name != "c" {
		t.Fatalf("got %+v", e)
	}
}

func TestWatchParameters(t *testing.T) {
	ns := space(t)
	c := client(t, contentJSON)
	cm, err := c.CoreV1().ConfigMaps(ns).Create(t.Context(), newConfigMap("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list := "/api/v1/namespaces/" + ns + "/configmaps?watch=true&timeoutSeconds=%d&"
	for name, tt := range map[string]struct {
		query string
		code  int
		first string // the first event's type, "" for none before the timeout
	}{
		"none: what there is, then changes": {"", 200, "ADDED"},
		"0: the same from the cache":        {"resourceVersion=0", 200, "ADDED"},
		"a revision: only what comes after": {"resourceVersion=" + cm.ResourceVersion, 200, ""},
		"not wanted":                        {"sendInitialEvents=false&resourceVersionMatch=NotOlderThan", 200, ""},
		"initial events without the match":  {"sendInitialEvents=true", 422, ""},
		"match without initial events":      {"resourceVersionMatch=NotOlderThan&resourceVersion=1", 422, ""},
		"exact":                             {"sendInitialEvents=true&resourceVersionMatch=Exact", 422, ""},
		"no number":                         {"resourceVersion=x", 400, ""},
		"unknown field":                     {"fieldSelector=spec.x=1", 400, ""},
		"bad label":                         {"labelSelector=%3D%3D", 400, ""},
		"one object":                        {"fieldSelector=metadata.name=a", 200, "ADDED"},
		"none of them":                      {"fieldSelector=metadata.name=b", 200, ""},
		"timeout that is no number":         {"timeoutSeconds=x&x=", 200, "ADDED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit := 1 // nothing comes until it is over
			if tt.first != "" {
				limit = 60
			}
			resp, next := stream(t, fmt.Sprintf(list, limit)+tt.query)
			if resp.StatusCode != tt.code {
				t.Fatalf("%s", resp.Status)
			}
			if tt.code != 200 {
				return
			}
			e, more := next()
			if e.Type != tt.first || more != (tt.first != "") {
				t.Fatalf("first event %+v", e)
			}
		})
	}
}

func TestWatchEndsWithABookmark(t *testing.T) {
	t.Parallel()
	ns := space(t)
	_, next := stream(t, "/api/v1/namespaces/"+ns+"/configmaps?watch=1&timeoutSeconds=1&allowWatchBookmarks=true")
	e, more := next()
	if !more || e.Type != "BOOKMARK" || e.Object.Metadata.ResourceVersion == "" || e.Object.Metadata.ResourceVersion == "0" {
		t.Fatalf("got %+v", e)
	}
	if _, more = next(); more {
		t.Error("the watch goes on after its timeout")
	}
}

func TestWatchAsTableAndMetadata(t *testing.T) {
	t.Parallel()
	ns, c := space(t), client(t, contentJSON)
	for _, name := range []string{"a", "b"} {
		if _, err := c.CoreV1().Pods(ns).Create(t.Context(), newPod(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	path := "/api/v1/namespaces/" + ns + "/pods?watch=1&timeoutSeconds=60"
	_, next := stream(t, path, "Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	first, _ := next()
	second, _ := next()
	if first.Object.Kind != "Table" || len(first.Object.ColumnDefinitions) == 0 || len(first.Object.Rows) != 1 {
		t.Errorf("first %+v", first)
	}
	if len(second.Object.ColumnDefinitions) != 0 || len(second.Object.Rows) != 1 {
		t.Errorf("second has columns again: %+v", second)
	}
	_, next = stream(t, path, "Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
	if e, _ := next(); e.Object.Kind != "PartialObjectMetadata" || e.Object.Metadata.Name != "a" {
		t.Errorf("metadata %+v", e)
	}
}

func TestRevisionsOfTheFuture(t *testing.T) {
	t.Parallel()
	resp, body := request(t, "GET", "/api/v1/configmaps?resourceVersion=999999999", "")
	if st := statusIn(t, body); resp.StatusCode != http.StatusGatewayTimeout || st.Reason != metav1.StatusReasonTimeout {
		t.Errorf("%s %s", resp.Status, body)
	}
}

// forgetful is a store that has compacted everything.
type forgetful struct {
	store.Interface
	within bool // a watch may start, and then falls behind
}

var errExpired = apierrors.NewResourceExpired("too old resource version: 1 (2)")

func (f forgetful) List(ctx context.Context, r *store.Resource, opts store.ListOptions) (*store.List, error) {
	if opts.Continue != "" || opts.Exact {
		return nil, errExpired
	}
	return f.Interface.List(ctx, r, opts)
}

func (f forgetful) Watch(context.Context, *store.Resource, store.Query, int64) (store.Watcher, error) {
	if f.within {
		return fallen{}, nil
	}
	return nil, errExpired
}

type fallen struct{}

func (fallen) Next(context.Context) ([]store.Event, error) { return nil, errExpired }
func (fallen) Revision() int64                             { return 1 }
func (fallen) Stop()                                       {}

func TestExpiredRevisionsAreGone(t *testing.T) {
	serve := func(within bool) string {
		r, err := resource.New(resource.Config{Store: forgetful{kept, within}, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Config{Registry: r, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		web := httptest.NewServer(s.Handler())
		t.Cleanup(web.Close)
		return web.URL
	}
	url := serve(false)
	for _, query := range []string{"continue=x", "resourceVersion=1&resourceVersionMatch=Exact", "watch=1&resourceVersion=1"} {
		code, body := fetch(t, url+"/api/v1/configmaps?"+query)
		if st := statusIn(t, body); code != http.StatusGone || st.Reason != metav1.StatusReasonExpired {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
	// Once the headers are out, the same is told by an event, in the stream's own encoding.
	url = serve(true)
	code, body := fetch(t, url+"/api/v1/configmaps?watch=1&resourceVersion=1")
	var e event
	if err := json.Unmarshal([]byte(body), &e); err != nil || code != 200 || e.Type != "ERROR" || e.Object.Code != http.StatusGone || e.Object.Kind != "Status" {
		t.Errorf("%d %s", code, body)
	}
	c, err := kubernetes.NewForConfig(&rest.Config{Host: url, ContentConfig: rest.ContentConfig{ContentType: contentProtobuf}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	ev := <-w.ResultChan()
	if err := apierrors.FromObject(ev.Object); ev.Type != watch.Error || !apierrors.IsResourceExpired(err) {
		t.Errorf("protobuf: %+v", ev)
	}
}

func TestFramesOfManyWatchersAreTheSame(t *testing.T) {
	ns, c := space(t), client(t, contentJSON)
	var readers []func() (event, bool)
	for range 5 {
		_, next := stream(t, "/api/v1/namespaces/"+ns+"/configmaps?watch=1")
		readers = append(readers, next)
	}
	for i := range 20 {
		if _, err := c.CoreV1().ConfigMaps(ns).Create(t.Context(), newConfigMap(fmt.Sprintf("cm-%02d", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for n, next := range readers {
		for i := range 20 {
			if e, _ := next(); e.Object.Metadata.Name != fmt.Sprintf("cm-%02d", i) {
				t.Fatalf("watcher %d, event %d: %+v", n, i, e)
			}
		}
	}
}
