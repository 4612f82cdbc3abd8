package store_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/petrelrun/petrel/controlplane/store"
	"github.com/petrelrun/petrel/controlplane/store/storetest"
)

const brokenKey = "/registry/core/configmaps/ns/broken"

// TestBroken puts values that cannot be read beside good ones: they hide themselves only, and say so to who asks.
func TestBroken(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"garbage": "\xff\xff\xff", "empty": "", "bad JSON": "{", "another's name": `{"metadata":{"name":"other","namespace":"ns"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			cfg := store.Config{Dir: t.TempDir()}
			s := start(t, cfg)
			if _, err := s.Create(testContext(t), storetest.ConfigMaps, named("good")); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Create(testContext(t), storetest.ConfigMaps, named("broken")); err != nil {
				t.Fatal(err)
			}
			w, err := s.Watch(testContext(t), storetest.ConfigMaps, store.Query{Name: "broken"}, fresh(t, s))
			if err != nil {
				t.Fatal(err)
			}
			putRaw(t, s, brokenKey, value)
			nextIs(t, w, watch.Deleted)
			checkBroken(t, s)
			stop(t, s)
			s = start(t, cfg) // it is there from the start
			checkBroken(t, s)
			mended, err := named("broken").Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if w, err = s.Watch(testContext(t), storetest.ConfigMaps, store.Query{Name: "broken"}, fresh(t, s)); err != nil {
				t.Fatal(err)
			}
			putRaw(t, s, brokenKey, string(mended))
			nextIs(t, w, watch.Added)
			if _, err := s.Get(testContext(t), storetest.ConfigMaps, "ns", "broken", true); err != nil {
				t.Errorf("after it was mended: %v", err)
			}
		})
	}
}

func checkBroken(t *testing.T, s *store.Store) {
	t.Helper()
	_, err := s.Get(testContext(t), storetest.ConfigMaps, "ns", "broken", true)
	if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "ns/broken") {
		t.Errorf("get says %v", err)
	}
	_, _, err = s.Update(testContext(t), storetest.ConfigMaps, "ns", "broken", store.Preconditions{},
		func(o runtime.Object) (runtime.Object, store.Verdict, error) { return o, store.Remove, nil })
	if !apierrors.IsInternalError(err) {
		t.Errorf("update says %v", err)
	}
	if _, err := s.Create(testContext(t), storetest.ConfigMaps, named("broken")); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create says %v", err)
	}
	l, err := s.List(testContext(t), storetest.ConfigMaps, store.ListOptions{Fresh: true})
	if err != nil || len(l.Entries) != 1 || l.Entries[0].Name != "good" {
		t.Errorf("list says %+v, %v", l, err)
	}
}

// TestForeignKeys leaves alone what it was not told of.
func TestForeignKeys(t *testing.T) {
	t.Parallel()
	cfg := store.Config{Dir: t.TempDir()}
	s := start(t, cfg)
	for _, key := range []string{
		"/registry/core/secrets/ns/a", "/registry/x", "/registry/", "/registry//", "/registry/core/configmaps/",
		"/registry/core/configmaps/a", "/registry/core/configmaps/a/b/c", "/registry/core/configmaps//b", "/elsewhere",
	} {
		putRaw(t, s, key, "x")
	}
	if _, err := s.Create(testContext(t), storetest.ConfigMaps, named("good")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l, err := s.List(testContext(t), storetest.ConfigMaps, store.ListOptions{Fresh: true})
		if err != nil || len(l.Entries) != 1 {
			t.Errorf("list says %+v, %v", l, err)
		}
		stop(t, s)
		s = start(t, cfg)
	}
}

// TestJSONOfProtobufType reads JSON under a type that is now kept as protobuf, and moves it on the next write.
func TestJSONOfProtobufType(t *testing.T) {
	t.Parallel()
	s := start(t, store.Config{Dir: t.TempDir()})
	putRaw(t, s, brokenKey, `{"metadata":{"name":"broken","namespace":"ns"},"data":{"value":"1"}}`)
	e, err := s.Get(testContext(t), storetest.ConfigMaps, "ns", "broken", true)
	if err != nil {
		t.Fatal(err)
	}
	if raw, protobuf := e.Raw(); protobuf || !strings.Contains(string(raw), `"resourceVersion"`) {
		t.Errorf("raw is %q, protobuf %t", raw, protobuf)
	}
	if _, _, err := s.Update(testContext(t), storetest.ConfigMaps, "ns", "broken", store.Preconditions{},
		func(o runtime.Object) (runtime.Object, store.Verdict, error) {
			o.(*corev1.ConfigMap).Data["value"] = "2"
			return o, store.Put, nil
		}); err != nil {
		t.Fatal(err)
	}
	if e, err = s.Get(testContext(t), storetest.ConfigMaps, "ns", "broken", true); err != nil {
		t.Fatal(err)
	}
	if _, protobuf := e.Raw(); !protobuf || e.Object().(*corev1.ConfigMap).Data["value"] != "2" {
		t.Errorf("after a write: protobuf %t, %+v", protobuf, e.Object())
	}
}

func named(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
}

func putRaw(t *testing.T, s *store.Store, key, value string) {
	t.Helper()
	if _, err := s.Etcd().Put(testContext(t), key, value); err != nil {
		t.Fatal(err)
	}
}

func fresh(t *testing.T, s *store.Store) int64 {
	t.Helper()
	l, err := s.List(testContext(t), storetest.Nodes, store.ListOptions{Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	return l.Revision
}

func nextIs(t *testing.T, w store.Watcher, want watch.EventType) {
	t.Helper()
	events, err := w.Next(testContext(t))
	if err != nil || len(events) != 1 || events[0].Type != want {
		t.Fatalf("watchers see %v, %v, not %s", events, err, want)
	}
}
