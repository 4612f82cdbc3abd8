package storetest

import (
	"context"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/petrelrun/petrel/controlplane/store"
)

func create(t testing.TB, s store.Interface, r *store.Resource, obj runtime.Object) runtime.Object {
	t.Helper()
	out, err := s.Create(testContext(t), r, obj)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return out
}

// setValue changes a ConfigMap's value and answers the new state.
func setValue(t testing.TB, s store.Interface, namespace, name, value string) *corev1.ConfigMap {
	t.Helper()
	return change(t, s, namespace, name, func(cm *corev1.ConfigMap) { cm.Data = map[string]string{"value": value} })
}

func change(t testing.TB, s store.Interface, namespace, name string, fn func(*corev1.ConfigMap)) *corev1.ConfigMap {
	t.Helper()
	out, removed, err := s.Update(testContext(t), ConfigMaps, namespace, name, store.Preconditions{}, put(fn))
	if err != nil || removed {
		t.Fatalf("update: removed %t, %v", removed, err)
	}
	return out.(*corev1.ConfigMap)
}

func put(fn func(*corev1.ConfigMap)) store.UpdateFunc {
	return func(current runtime.Object) (runtime.Object, store.Verdict, error) {
		fn(current.(*corev1.ConfigMap))
		return current, store.Put, nil
	}
}

func removeNow(current runtime.Object) (runtime.Object, store.Verdict, error) {
	return current, store.Remove, nil
}

func remove(t testing.TB, s store.Interface, r *store.Resource, namespace, name string) runtime.Object {
	t.Helper()
	out, removed, err := s.Update(testContext(t), r, namespace, name, store.Preconditions{}, removeNow)
	if err != nil || !removed {
		t.Fatalf("remove: removed %t, %v", removed, err)
	}
	return out
}

func startWatch(t testing.TB, s store.Interface, r *store.Resource, q store.Query, from int64) store.Watcher {
	t.Helper()
	w, err := s.Watch(testContext(t), r, q, from)
	if err != nil {
		t.Fatalf("watch from %d: %v", from, err)
	}
	t.Cleanup(w.Stop)
	return w
}

// freshRevision is the revision of a state that has all acknowledged writes.
func freshRevision(t testing.TB, s store.Interface) int64 {
	t.Helper()
	l, err := s.List(testContext(t), Nodes, store.ListOptions{Fresh: true, Limit: 1})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return l.Revision
}

func revisionOf(t testing.TB, obj runtime.Object) int64 {
	t.Helper()
	n, err := parseRevision(obj)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func parseRevision(obj runtime.Object) (int64, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(m.GetResourceVersion(), 10, 64)
}

// seen is an event in a form that can be compared.
type seen struct {
	Type     watch.EventType
	Key      string
	Value    string // of a ConfigMap
	Revision int64
}

func view(t testing.TB, ev store.Event) seen {
	t.Helper()
	if ev.Entry.Revision != ev.Revision {
		t.Errorf("event at %d shows %s at %d", ev.Revision, ev.Entry.Key(), ev.Entry.Revision)
	}
	s := seen{Type: ev.Type, Key: ev.Entry.Key(), Revision: ev.Revision}
	obj := ev.Entry.Object()
	if got := revisionOf(t, obj); got != ev.Revision {
		t.Errorf("event at %d shows an object with resourceVersion %d", ev.Revision, got)
	}
	if cm, ok := obj.(*corev1.ConfigMap); ok {
		s.Value = cm.Data["value"]
	}
	return s
}

// collect reads events until n are there.
func collect(t testing.TB, ctx context.Context, w store.Watcher, n int) []seen {
	t.Helper()
	var all []seen
	for len(all) < n {
		events, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("after %d of %d events: %v", len(all), n, err)
		}
		if len(events) == 0 {
			t.Fatal("Next answered nothing")
		}
		for _, ev := range events {
			all = append(all, view(t, ev))
		}
	}
	return all
}

// collectTo reads events until the watcher has seen a revision.
func collectTo(t testing.TB, ctx context.Context, w store.Watcher, revision int64) []seen {
	t.Helper()
	var all []seen
	for w.Revision() < revision {
		short, cancel := context.WithTimeout(ctx, pollInterval)
		events, err := w.Next(short)
		late := short.Err() != nil
		cancel()
		if err != nil && (!late || ctx.Err() != nil) {
			t.Fatalf("at %d on the way to %d: %v", w.Revision(), revision, err)
		}
		for _, ev := range events {
			all = append(all, view(t, ev))
		}
	}
	return all
}

func bind(node string) store.UpdateFunc {
	return func(current runtime.Object) (runtime.Object, store.Verdict, error) {
		current.(*corev1.Pod).Spec.NodeName = node
		return current, store.Put, nil
	}
}
