package api

import (
	"encoding/json"
	"math/rand"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return scheme
}

func TestSchemeAndDefaults(t *testing.T) {
	scheme := newScheme(t)
	for _, r := range Resources() {
		if !scheme.Recognizes(r.GVK) {
			t.Errorf("%s is not registered", r.GVK)
		}
		if !scheme.Recognizes(r.GVK.GroupVersion().WithKind(r.GVK.Kind + "List")) {
			t.Errorf("%sList is not registered", r.GVK.Kind)
		}
		if len(Columns(r.GVK.Kind)) == 0 {
			t.Errorf("%s has no columns", r.GVK.Kind)
		}
	}
	raw := []byte(`{"apiVersion":"petrel.run/v1alpha1","kind":"App","metadata":{"name":"a"}}`)
	obj, _, err := serializer.NewCodecFactory(scheme).UniversalDeserializer().Decode(raw, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	scheme.Default(obj)
	if app := obj.(*App); app.Spec.Replicas == nil || *app.Spec.Replicas != DefaultReplicas {
		t.Errorf("replicas not defaulted: %+v", app.Spec)
	}
}

// What is stored must come back the same, and a copy must share nothing with its origin.
func TestRoundTripAndDeepCopy(t *testing.T) {
	scheme := newScheme(t)
	codecs := serializer.NewCodecFactory(scheme)
	fill := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(1), codecs)
	for _, r := range Resources() {
		for range 50 {
			obj, err := scheme.New(r.GVK)
			if err != nil {
				t.Fatal(err)
			}
			fill.Fill(obj)
			before, err := json.Marshal(obj)
			if err != nil {
				t.Fatal(err)
			}
			back, _ := scheme.New(r.GVK)
			if err := json.Unmarshal(before, back); err != nil {
				t.Fatal(err)
			}
			if after, _ := json.Marshal(back); string(after) != string(before) {
				t.Fatalf("%s: %s became %s", r.GVK.Kind, before, after)
			}
			deep := obj.DeepCopyObject()
			if !equality.Semantic.DeepEqual(obj, deep) {
				t.Fatalf("%s: the copy differs", r.GVK.Kind)
			}
			fill.Fill(deep)
			if after, _ := json.Marshal(obj); string(after) != string(before) {
				t.Fatalf("%s: writing to the copy changed its origin", r.GVK.Kind)
			}
		}
	}
}

func TestColumns(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	app := validApp()
	app.CreationTimestamp = metav1.NewTime(now.Add(-90 * time.Second))
	app.Status = AppStatus{ReadyReplicas: 1, ActiveVersion: 3, URL: "http://hello.localhost:8081/", ColdStartMicros: 4200}
	want := []any{"hello", "1/2", int64(3), "http://hello.localhost:8081/", "4.2ms", "90s", app.Spec.Image}
	for i, c := range Columns("App") {
		if got := c.Cell(app, now); got != want[i] {
			t.Errorf("%s: got %v, want %v", c.Name, got, want[i])
		}
		if got := c.Cell(&Revision{}, now); got != nil {
			t.Errorf("%s of another kind: %v", c.Name, got)
		}
	}
	rev := NewRevision(app, 3, app.Spec.AppTemplate)
	rev.Spec.Module = &ModuleInfo{Digest: "sha256:0123456789abcdef", Size: 3 << 20}
	wantRev := []any{"hello-v3", "hello", int64(3), "0123456789ab", "3.0 MiB", "<unknown>", app.Spec.Image}
	for i, c := range Columns("Revision") {
		if got := c.Cell(rev, now); got != wantRev[i] {
			t.Errorf("%s: got %v, want %v", c.Name, got, wantRev[i])
		}
	}
	if Columns("Pod") != nil {
		t.Error("columns for a kind that is not ours")
	}
}
