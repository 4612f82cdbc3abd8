package storetest

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/petrelrun/petrel/controlplane/store"
)

var removeTests = []test{
	{"CarriesTheDeletionsRevision", removeRevision},
	{"ShowsTheLastState", removeLastState},
	{"OnlyOneRemoves", removeOnce},
}

func removeRevision(t *testing.T, s *Subject) {
	ns := space(t.Name())
	created := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "1")))
	w := startWatch(t, s.Store, ConfigMaps, store.Query{Namespace: ns}, created)
	removed := revisionOf(t, remove(t, s.Store, ConfigMaps, ns, "a"))
	if removed <= created {
		t.Errorf("created at %d, removed at %d", created, removed)
	}
	again := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "2")))
	want := []seen{
		{watch.Deleted, ns + "/a", "1", removed},
		{watch.Added, ns + "/a", "2", again},
	}
	equal(t, collect(t, testContext(t), w, 2), want)
	remove(t, s.Store, ConfigMaps, ns, "a")
	if _, err := s.Store.Get(testContext(t), ConfigMaps, ns, "a", true); !apierrors.IsNotFound(err) {
		t.Errorf("after the removal: %v", err)
	}
}

// removeLastState removes with a state that was never stored: it is what watchers see last.
func removeLastState(t *testing.T, s *Subject) {
	ns := space(t.Name())
	for range 50 {
		created := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "stored")))
		w := startWatch(t, s.Store, ConfigMaps, store.Query{Namespace: ns}, created)
		out, removed, err := s.Store.Update(testContext(t), ConfigMaps, ns, "a", store.Preconditions{},
			func(current runtime.Object) (runtime.Object, store.Verdict, error) {
				current.(*corev1.ConfigMap).Data["value"] = "last"
				return current, store.Remove, nil
			})
		if err != nil || !removed {
			t.Fatalf("removed %t, %v", removed, err)
		}
		if got := out.(*corev1.ConfigMap).Data["value"]; got != "last" {
			t.Errorf("the answer is %q", got)
		}
		equal(t, collect(t, testContext(t), w, 1), []seen{{watch.Deleted, ns + "/a", "last", revisionOf(t, out)}})
		w.Stop()
	}
}

func removeOnce(t *testing.T, s *Subject) {
	const removers = 8
	ns := space(t.Name())
	created := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "1")))
	w := startWatch(t, s.Store, ConfigMaps, store.Query{Namespace: ns}, created)
	ctx := testContext(t)
	results := make(chan error, removers)
	for range removers {
		go func() {
			_, removed, err := s.Store.Update(ctx, ConfigMaps, ns, "a", store.Preconditions{}, removeNow)
			if err == nil && !removed {
				t.Error("neither removed nor an error")
			}
			results <- err
		}()
	}
	won := 0
	for range removers {
		if err := <-results; err == nil {
			won++
		} else if !apierrors.IsNotFound(err) {
			t.Errorf("a loser got %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d removed it", won)
	}
	if got := collectTo(t, ctx, w, freshRevision(t, s.Store)); len(got) != 1 || got[0].Type != watch.Deleted {
		t.Errorf("watchers saw %v", got)
	}
}
