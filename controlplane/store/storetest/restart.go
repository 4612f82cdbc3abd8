package storetest

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/store"
)

var restartTests = []ownTest{
	{"KeepsObjectsAndRevisions", restartKeeps},
	{"WatchesResume", restartResumes},
	{"ResumesAfterCompaction", restartCompacted},
	{"PagesGoOn", restartPages},
	{"EndsWatchers", restartEnds},
}

func restartKeeps(t *testing.T, open Open) {
	subject := open(t, Options{Resources: Resources()})
	s := subject.Store
	a := revisionOf(t, create(t, s, ConfigMaps, configMap("a", "a", "1")))
	create(t, s, Notes, &Note{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "n"}, Text: "kept"})
	create(t, s, ConfigMaps, configMap("a", "gone", "1"))
	remove(t, s, ConfigMaps, "a", "gone")
	end := freshRevision(t, s)
	s = subject.Reopen(t)
	if got := freshRevision(t, s); got != end {
		t.Errorf("revision %d became %d", end, got)
	}
	e, err := s.Get(testContext(t), ConfigMaps, "a", "a", false)
	if err != nil || e.Revision != a || e.Object().(*corev1.ConfigMap).Data["value"] != "1" {
		t.Errorf("got %+v, %v", e, err)
	}
	if e, err := s.Get(testContext(t), Notes, "a", "n", false); err != nil || e.Object().(*Note).Text != "kept" {
		t.Errorf("got %+v, %v", e, err)
	}
	if _, err := s.Get(testContext(t), ConfigMaps, "a", "gone", false); !apierrors.IsNotFound(err) {
		t.Errorf("what was removed: %v", err)
	}
	if next := revisionOf(t, setValue(t, s, "a", "a", "2")); next <= end {
		t.Errorf("a write after the restart is at %d, not after %d", next, end)
	}
}

func restartResumes(t *testing.T, open Open) {
	subject := open(t, Options{Resources: Resources()})
	s := subject.Store
	from := freshRevision(t, s)
	ctx := testContext(t)
	m := scramble(ctx, t, s, "a", 4, 50, 10)
	middle := freshRevision(t, s)
	s = subject.Reopen(t)
	more := scramble(ctx, t, s, "a", 4, 50, 10)
	end := freshRevision(t, s)
	m.writes = append(m.writes, more.writes...)
	want := m.events()
	for _, start := range []int64{from, from + 1, (from + middle) / 2, middle - 1, middle, middle + 1, end} {
		w := startWatch(t, s, ConfigMaps, store.Query{}, start)
		equal(t, collectTo(t, ctx, w, end), after(want, start))
		w.Stop()
	}
}

func restartCompacted(t *testing.T, open Open) {
	subject := open(t, Options{Resources: Resources()})
	s := subject.Store
	from := freshRevision(t, s)
	ctx := testContext(t)
	m := scramble(ctx, t, s, "a", 4, 50, 10)
	middle := freshRevision(t, s)
	more := scramble(ctx, t, s, "a", 4, 50, 10)
	subject.Compact(t, middle)
	end := freshRevision(t, s)
	s = subject.Reopen(t)
	m.writes = append(m.writes, more.writes...)
	want := m.events()
	for start := from; start <= end; start++ {
		w, err := s.Watch(ctx, ConfigMaps, store.Query{}, start)
		if start < middle {
			if !apierrors.IsResourceExpired(err) {
				t.Fatalf("from %d, compacted at %d: %v", start, middle, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("from %d, compacted at %d: %v", start, middle, err)
		}
		equal(t, collectTo(t, ctx, w, end), after(want, start))
		w.Stop()
	}
}

func restartPages(t *testing.T, open Open) {
	subject := open(t, Options{Resources: Resources()})
	fill(t, subject.Store, "a", 10)
	o := store.ListOptions{Query: store.Query{Namespace: "a"}, Limit: 4, Fresh: true}
	first := list(t, subject.Store, ConfigMaps, o)
	remove(t, subject.Store, ConfigMaps, "a", "006")
	s := subject.Reopen(t)
	keys, revision := walk(t, s, store.ListOptions{Query: o.Query, Limit: 4, Continue: first.Continue}, func(int) {})
	if len(keys) != 6 || revision != first.Revision {
		t.Errorf("the rest of the list is %v at %d, not at %d", keys, revision, first.Revision)
	}
}

// restartEnds holds a watcher across the end of its store.
func restartEnds(t *testing.T, open Open) {
	subject := open(t, Options{Resources: Resources()})
	s := subject.Store
	w := startWatch(t, s, ConfigMaps, store.Query{}, freshRevision(t, s))
	ended := make(chan error)
	go func() {
		_, err := w.Next(context.Background())
		ended <- err
	}()
	subject.Reopen(t)
	if err := <-ended; !apierrors.IsServiceUnavailable(err) {
		t.Errorf("the watcher got %v", err)
	}
	for name, try := range map[string]func() error{
		"get": func() error { _, err := s.Get(context.Background(), ConfigMaps, "a", "a", true); return err },
		"create": func() error {
			_, err := s.Create(context.Background(), ConfigMaps, configMap("a", "a", ""))
			return err
		},
		"list":  func() error { _, err := s.List(context.Background(), ConfigMaps, store.ListOptions{}); return err },
		"watch": func() error { _, err := s.Watch(context.Background(), ConfigMaps, store.Query{}, 1); return err },
	} {
		if err := try(); !apierrors.IsServiceUnavailable(err) {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
}
