package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/store"
)

var updateTests = []test{
	{"MovesTheRevision", updateMoves},
	{"NoChangeKeepsTheRevision", updateNoChange},
	{"Errors", updateErrors},
	{"SeesItsOwnWrites", updateSeesOwnWrites},
	{"LosesNoIncrement", updateIncrements},
	{"LeavesWhatItIsGivenAlone", updateLeavesGiven},
	{"Preconditions", updatePreconditions},
	{"ErrorIsOfAFreshState", updateErrorIsFresh},
}

func updateMoves(t *testing.T, s *Subject) {
	ns := space(t.Name())
	before := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "1")))
	after := setValue(t, s.Store, ns, "a", "2")
	if revisionOf(t, after) <= before || after.Data["value"] != "2" {
		t.Errorf("from %d to %+v", before, after)
	}
	if after.Kind != "ConfigMap" || after.APIVersion != "v1" {
		t.Errorf("updated object says it is %s %s", after.APIVersion, after.Kind)
	}
}

func updateNoChange(t *testing.T, s *Subject) {
	ns := space(t.Name())
	before := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "1")))
	w := startWatch(t, s.Store, ConfigMaps, store.Query{Namespace: ns}, before)
	for _, verdict := range []store.Verdict{store.Put, store.Keep} {
		out, removed, err := s.Store.Update(testContext(t), ConfigMaps, ns, "a", store.Preconditions{},
			func(current runtime.Object) (runtime.Object, store.Verdict, error) { return current, verdict, nil })
		if err != nil || removed || revisionOf(t, out) != before {
			t.Errorf("verdict %d: %+v, removed %t, %v", verdict, out, removed, err)
		}
	}
	// Nor does a resourceVersion in what is given back count as a change.
	same := change(t, s.Store, ns, "a", func(cm *corev1.ConfigMap) { cm.ResourceVersion = "1" })
	if revisionOf(t, same) != before {
		t.Errorf("revision moved from %d to %s", before, same.ResourceVersion)
	}
	last := setValue(t, s.Store, ns, "a", "2")
	if got := collect(t, testContext(t), w, 1); len(got) != 1 || got[0].Revision != revisionOf(t, last) {
		t.Errorf("watchers saw %v", got)
	}
}

func updateErrors(t *testing.T, s *Subject) {
	ns := space(t.Name())
	ctx := testContext(t)
	if _, _, err := s.Store.Update(ctx, ConfigMaps, ns, "none", store.Preconditions{}, removeNow); !apierrors.IsNotFound(err) {
		t.Errorf("an object that is not there: %v", err)
	}
	before := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "1")))
	mine := errors.New("mine")
	_, _, err := s.Store.Update(ctx, ConfigMaps, ns, "a", store.Preconditions{},
		func(runtime.Object) (runtime.Object, store.Verdict, error) { return nil, store.Put, mine })
	if !errors.Is(err, mine) {
		t.Errorf("the function's own error became %v", err)
	}
	_, _, err = s.Store.Update(ctx, ConfigMaps, ns, "a", store.Preconditions{}, put(func(cm *corev1.ConfigMap) { cm.Name = "b" }))
	if !apierrors.IsBadRequest(err) {
		t.Errorf("another name: %v", err)
	}
	_, _, err = s.Store.Update(ctx, ConfigMaps, ns, "a", store.Preconditions{},
		func(runtime.Object) (runtime.Object, store.Verdict, error) { return nil, store.Put, nil })
	if !apierrors.IsInternalError(err) {
		t.Errorf("nothing to write: %v", err)
	}
	e, err := s.Store.Get(ctx, ConfigMaps, ns, "a", true)
	if err != nil || e.Revision != before {
		t.Errorf("afterwards: %+v, %v", e, err)
	}
}

// updateSeesOwnWrites updates right after each write, while the cache may not have it yet.
func updateSeesOwnWrites(t *testing.T, s *Subject) {
	ns := space(t.Name())
	for i := range 100 {
		name := strconv.Itoa(i)
		create(t, s.Store, ConfigMaps, configMap(ns, name, "1"))
		setValue(t, s.Store, ns, name, "2")
		remove(t, s.Store, ConfigMaps, ns, name)
		create(t, s.Store, ConfigMaps, configMap(ns, name, "3"))
		if got := change(t, s.Store, ns, name, func(cm *corev1.ConfigMap) { cm.Data["value"] += "!" }); got.Data["value"] != "3!" {
			t.Fatalf("updated %q", got.Data["value"])
		}
	}
}

func updateIncrements(t *testing.T, s *Subject) {
	const writers, each = 8, 25
	ns := space(t.Name())
	create(t, s.Store, ConfigMaps, configMap(ns, "counter", "0"))
	ctx := testContext(t)
	increment := put(func(cm *corev1.ConfigMap) {
		n, _ := strconv.Atoi(cm.Data["value"])
		cm.Data["value"] = strconv.Itoa(n + 1)
	})
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				_, _, err := s.Store.Update(ctx, ConfigMaps, ns, "counter", store.Preconditions{}, increment)
				if apierrors.IsConflict(err) { // it may give up under a storm, but must say so
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				done++
			}
		})
	}
	wg.Wait()
	e, err := s.Store.Get(ctx, ConfigMaps, ns, "counter", true)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := e.Object().(*corev1.ConfigMap).Data["value"], strconv.Itoa(writers*each); got != want {
		t.Errorf("%s increments of %s were kept", got, want)
	}
}

// updateLeavesGiven returns one and the same object from each call of the function, as one does who has read it from
// a request: a lost race must not leave marks on it.
func updateLeavesGiven(t *testing.T, s *Subject) {
	ns := space(t.Name())
	created := create(t, s.Store, ConfigMaps, configMap(ns, "a", "1")).(*corev1.ConfigMap)
	given := created.DeepCopy()
	given.Data["value"] = "2"
	calls := 0
	out, _, err := s.Store.Update(testContext(t), ConfigMaps, ns, "a", store.Preconditions{},
		func(runtime.Object) (runtime.Object, store.Verdict, error) {
			if calls++; calls == 1 {
				setValue(t, s.Store, ns, "a", "meanwhile")
			}
			return given, store.Put, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	if calls < 2 {
		t.Errorf("the race was not lost: %d calls", calls)
	}
	if given.ResourceVersion != created.ResourceVersion {
		t.Errorf("what was given has resourceVersion %q, not %q", given.ResourceVersion, created.ResourceVersion)
	}
	if got := out.(*corev1.ConfigMap); got.Data["value"] != "2" || got.ResourceVersion == given.ResourceVersion {
		t.Errorf("updated to %+v", got)
	}
}

func updatePreconditions(t *testing.T, s *Subject) {
	ns := space(t.Name())
	cm := configMap(ns, "a", "1")
	cm.UID = "one"
	revision := revisionOf(t, create(t, s.Store, ConfigMaps, cm))
	one, two, stale := types.UID("one"), types.UID("two"), revision-1
	for _, c := range []struct {
		name string
		pre  store.Preconditions
		ok   bool
	}{
		{"other uid", store.Preconditions{UID: &two}, false},
		{"old revision", store.Preconditions{Revision: &stale}, false},
		{"one of both", store.Preconditions{UID: &one, Revision: &stale}, false},
		{"both", store.Preconditions{UID: &one, Revision: &revision}, true},
	} {
		_, _, err := s.Store.Update(testContext(t), ConfigMaps, ns, "a", c.pre, put(func(cm *corev1.ConfigMap) { cm.Data["value"] = "2" }))
		if c.ok && err != nil || !c.ok && !apierrors.IsConflict(err) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// updateErrorIsFresh updates with the revision just read: a stale cache must not make a conflict of that.
func updateErrorIsFresh(t *testing.T, s *Subject) {
	ns := space(t.Name())
	revision := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "0")))
	for i := range 200 {
		out, _, err := s.Store.Update(testContext(t), ConfigMaps, ns, "a", store.Preconditions{Revision: &revision},
			put(func(cm *corev1.ConfigMap) { cm.Data["value"] = fmt.Sprint(i) }))
		if err != nil {
			t.Fatalf("update %d: %v", i, err)
		}
		revision = revisionOf(t, out)
	}
}
