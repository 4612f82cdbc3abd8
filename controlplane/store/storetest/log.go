package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/petrelrun/petrel/controlplane/store"
)

var logTests = []ownTest{
	{"SlowWatcherExpiresAlone", slowWatcher},
	{"OldStartsExpire", oldStarts},
}

// slowWatcher reads nothing while more is written than the log holds. It must be told, the others must not notice.
func slowWatcher(t *testing.T, open Open) {
	const kept, written = 100, 500
	s := open(t, Options{Resources: Resources(), LogEvents: kept}).Store
	from := freshRevision(t, s)
	slow := startWatch(t, s, ConfigMaps, store.Query{}, from)
	late := startWatch(t, s, ConfigMaps, store.Query{}, from)
	fast := startWatch(t, s, ConfigMaps, store.Query{}, from)
	other := startWatch(t, s, Pods, store.Query{}, from)
	ctx := testContext(t)
	create(t, s, Pods, pod("a", "p", ""))
	var wg sync.WaitGroup
	var all []seen
	for i := range written {
		create(t, s, ConfigMaps, configMap("a", fmt.Sprintf("%04d", i), "1"))
		all = append(all, collect(t, ctx, fast, 1)...)
		if i == written/2 { // one that comes back while it can
			wg.Go(func() {
				if events, err := late.Next(ctx); err == nil {
					t.Errorf("a watcher behind the log got %d events", len(events))
				} else if !apierrors.IsResourceExpired(err) {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if len(all) != written {
		t.Errorf("the fast watcher saw %d of %d", len(all), written)
	}
	for range 2 {
		if _, err := slow.Next(ctx); !apierrors.IsResourceExpired(err) {
			t.Errorf("the slow watcher got %v", err)
		}
	}
	if got := collect(t, ctx, other, 1); got[0].Type != watch.Added {
		t.Errorf("another resource's watcher, as slow, saw %v", got)
	}
}

func oldStarts(t *testing.T, open Open) {
	const kept, written = 50, 120
	s := open(t, Options{Resources: Resources(), LogEvents: kept}).Store
	var revisions []int64
	for i := range written {
		revisions = append(revisions, revisionOf(t, create(t, s, ConfigMaps, configMap("a", fmt.Sprintf("%04d", i), "1"))))
	}
	end := freshRevision(t, s)
	oldest := 0
	for i, from := range revisions {
		w, err := s.Watch(testContext(t), ConfigMaps, store.Query{}, from)
		if apierrors.IsResourceExpired(err) {
			oldest = i + 1
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := collectTo(t, context.Background(), w, end); len(got) != written-i-1 {
			t.Fatalf("from %d: %d events, not %d", from, len(got), written-i-1)
		}
		w.Stop()
	}
	if served := written - oldest; served < kept || served > 2*kept {
		t.Errorf("%d starts of a log of %d were served", served, kept)
	}
}
