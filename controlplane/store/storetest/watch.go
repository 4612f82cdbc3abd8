package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/petrelrun/petrel/controlplane/store"
)

// pollInterval spaces looks at something that has no event of its own.
const pollInterval = 20 * time.Millisecond

var watchTests = []test{
	{"OrderedWithoutGapOrDuplicate", watchOrdered},
	{"ResumesAnywhere", watchResumes},
	{"ListThenWatch", watchAfterList},
	{"LabelTransitions", watchLabels},
	{"FieldTransitions", watchFields},
	{"OneNamespaceOneName", watchNarrow},
	{"RevisionMovesWithOthers", watchRevision},
	{"RevisionsToCome", watchFuture},
	{"RevisionsFarAhead", farAhead},
	{"Ends", watchEnds},
}

func watchOrdered(t *testing.T, s *Subject) {
	const watchers = 50
	ns := space(t.Name())
	start := freshRevision(t, s.Store)
	ctx := testContext(t)
	var stopped [watchers]store.Watcher
	for i := range stopped {
		stopped[i] = startWatch(t, s.Store, ConfigMaps, store.Query{Namespace: ns}, start)
	}
	var goal atomic.Int64 // 0 while writers write
	var all [watchers][]seen
	var wg sync.WaitGroup
	for i, w := range stopped {
		wg.Go(func() { all[i] = readUntil(ctx, t, w, &goal) })
	}
	m := scramble(ctx, t, s.Store, ns, 8, 150, 20)
	goal.Store(freshRevision(t, s.Store))
	wg.Wait()
	want := m.events()
	if len(want) < 300 {
		t.Fatalf("only %d writes were made", len(want))
	}
	for i := range all {
		equal(t, all[i], want)
	}
}

// readUntil reads while writers write, and on to a goal that is known when they are done.
func readUntil(ctx context.Context, t testing.TB, w store.Watcher, goal *atomic.Int64) (all []seen) {
	last := int64(0)
	for goal.Load() == 0 || w.Revision() < goal.Load() {
		if r := w.Revision(); r < last {
			t.Errorf("the watcher's revision went from %d back to %d", last, r)
		} else {
			last = r
		}
		short, cancel := context.WithTimeout(ctx, pollInterval)
		events, err := w.Next(short)
		cancel()
		if ctx.Err() != nil || err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at %d: %v", w.Revision(), err)
			return all
		}
		for _, ev := range events {
			all = append(all, view(t, ev))
		}
	}
	return all
}

func watchResumes(t *testing.T, s *Subject) {
	ns := space(t.Name())
	start := freshRevision(t, s.Store)
	ctx := testContext(t)
	m := scramble(ctx, t, s.Store, ns, 4, 50, 10)
	end := freshRevision(t, s.Store)
	want := m.events()
	for from := start; from <= end; from++ {
		w := startWatch(t, s.Store, ConfigMaps, store.Query{Namespace: ns}, from)
		equal(t, collectTo(t, ctx, w, end), after(want, from))
		w.Stop()
	}
	// One reader that breaks off after each answer and resumes from where the watcher says it is.
	var all []seen
	for from := start; from < end; {
		w := startWatch(t, s.Store, ConfigMaps, store.Query{Namespace: ns}, from)
		short, cancel := context.WithTimeout(ctx, pollInterval)
		events, _ := w.Next(short)
		cancel()
		for _, ev := range events {
			all = append(all, view(t, ev))
		}
		from = w.Revision()
		w.Stop()
	}
	equal(t, all, want)
}

// watchAfterList lists while others write, and watches from the list's revision: both together are the whole.
func watchAfterList(t *testing.T, s *Subject) {
	ns := space(t.Name())
	ctx := testContext(t)
	type listed struct {
		values   map[string]string
		revision int64
	}
	var lists []listed
	writing, finish := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for writing.Err() == nil {
			l, err := s.Store.List(ctx, ConfigMaps, store.ListOptions{Query: store.Query{Namespace: ns}})
			if err != nil {
				t.Error(err)
				return
			}
			state := listed{map[string]string{}, l.Revision}
			for _, e := range l.Entries {
				state.values[e.Key()] = e.Object().(*corev1.ConfigMap).Data["value"]
			}
			lists = append(lists, state)
			time.Sleep(time.Millisecond) // the writers need the machine as well
		}
	})
	m := scramble(ctx, t, s.Store, ns, 4, 100, 10)
	finish()
	wg.Wait()
	events := m.events()
	for _, l := range lists {
		want := map[string]string{}
		for _, e := range events[:len(events)-len(after(events, l.revision))] {
			if e.Type == watch.Deleted {
				delete(want, e.Key)
			} else {
				want[e.Key] = e.Value
			}
		}
		if fmt.Sprint(l.values) != fmt.Sprint(want) {
			t.Fatalf("a list at %d is %v, not %v", l.revision, l.values, want)
		}
	}
	t.Logf("%d lists during %d writes", len(lists), len(events))
}

func watchLabels(t *testing.T, s *Subject) {
	ns := space(t.Name())
	from := freshRevision(t, s.Store)
	set := func(app, value string) int64 {
		return revisionOf(t, change(t, s.Store, ns, "a", func(cm *corev1.ConfigMap) {
			cm.Labels, cm.Data = map[string]string{"app": app}, map[string]string{"value": value}
		}))
	}
	create(t, s.Store, ConfigMaps, labelled(configMap(ns, "a", "0"), "app", "db"))
	in := set("web", "1")
	same := set("web", "2")
	out := set("db", "3")
	set("db", "4")
	again := set("web", "5")
	gone := revisionOf(t, remove(t, s.Store, ConfigMaps, ns, "a"))
	w := startWatch(t, s.Store, ConfigMaps, store.Query{Namespace: ns, Labels: labels.SelectorFromSet(labels.Set{"app": "web"})}, from)
	got := collectTo(t, testContext(t), w, gone)
	key := ns + "/a"
	equal(t, got, []seen{
		{watch.Added, key, "1", in},
		{watch.Modified, key, "2", same},
		{watch.Deleted, key, "2", out}, // the last state that matched
		{watch.Added, key, "5", again},
		{watch.Deleted, key, "5", gone},
	})
}

func watchFields(t *testing.T, s *Subject) {
	ns := space(t.Name())
	from := freshRevision(t, s.Store)
	create(t, s.Store, Pods, pod(ns, "p", ""))
	q := store.Query{Namespace: ns, Fields: fields.ParseSelectorOrDie("spec.nodeName=n1")}
	w := startWatch(t, s.Store, Pods, q, from)
	unbound := startWatch(t, s.Store, Pods, store.Query{Namespace: ns, Fields: fields.ParseSelectorOrDie("spec.nodeName=")}, from)
	out, _, err := s.Store.Update(testContext(t), Pods, ns, "p", store.Preconditions{}, bind("n1"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, collect(t, testContext(t), w, 1), []seen{{watch.Added, ns + "/p", "", revisionOf(t, out)}})
	got := collect(t, testContext(t), unbound, 2)
	if got[0].Type != watch.Added || got[1] != (seen{watch.Deleted, ns + "/p", "", revisionOf(t, out)}) {
		t.Errorf("who watches the unbound saw %v", got)
	}
}

func watchNarrow(t *testing.T, s *Subject) {
	ns := space(t.Name())
	from := freshRevision(t, s.Store)
	create(t, s.Store, ConfigMaps, configMap(ns+"x", "a", "1"))
	a := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "1")))
	b := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "b", "1")))
	end := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns+"x", "b", "1")))
	for _, c := range []struct {
		query store.Query
		want  []seen
	}{
		{store.Query{Namespace: ns}, []seen{{watch.Added, ns + "/a", "1", a}, {watch.Added, ns + "/b", "1", b}}},
		{store.Query{Namespace: ns, Name: "b"}, []seen{{watch.Added, ns + "/b", "1", b}}},
		{store.Query{Namespace: ns, Name: "c"}, nil},
	} {
		w := startWatch(t, s.Store, ConfigMaps, c.query, from)
		equal(t, collectTo(t, testContext(t), w, end), c.want)
	}
}

// watchRevision sees no event of its own, but others' revisions: a bookmark must move with them.
func watchRevision(t *testing.T, s *Subject) {
	ns := space(t.Name())
	from := freshRevision(t, s.Store)
	quiet := startWatch(t, s.Store, Notes, store.Query{}, from)
	elsewhere := startWatch(t, s.Store, ConfigMaps, store.Query{Namespace: ns + "-not"}, from)
	end := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "1")))
	for name, w := range map[string]store.Watcher{"other resource": quiet, "other namespace": elsewhere} {
		if got := collectTo(t, testContext(t), w, end); len(got) != 0 {
			t.Errorf("%s: saw %v", name, got)
		}
	}
}

func watchFuture(t *testing.T, s *Subject) {
	ns := space(t.Name())
	ctx := testContext(t)
	if _, err := s.Store.Watch(ctx, ConfigMaps, store.Query{}, -1); !apierrors.IsBadRequest(err) {
		t.Errorf("a negative revision: %v", err)
	}
	// A revision that comes while the call waits.
	next := freshRevision(t, s.Store) + 1
	started := make(chan store.Watcher)
	go func() {
		w, err := s.Store.Watch(ctx, ConfigMaps, store.Query{Namespace: ns}, next)
		if err != nil {
			t.Errorf("a revision just ahead: %v", err)
		}
		started <- w
	}()
	time.Sleep(pollInterval) // so that it does wait; the test holds without
	a := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "1")))
	b := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "b", "1")))
	w := <-started
	if w == nil {
		return
	}
	defer w.Stop()
	want := []seen{{watch.Added, ns + "/a", "1", a}, {watch.Added, ns + "/b", "1", b}}
	equal(t, collectTo(t, ctx, w, b), after(want, next)) // others write as well, so a need not be next
}

// farAhead asks for what will not come: each way of asking waits a while and then tells so in the way that clients
// know.
func farAhead(t *testing.T, s *Subject) {
	const far = 1 << 50
	ctx := testContext(t)
	var wg sync.WaitGroup
	for name, ask := range map[string]func() error{
		"watch": func() error {
			_, err := s.Store.Watch(ctx, ConfigMaps, store.Query{}, far)
			return err
		},
		"list not older than": func() error {
			_, err := s.Store.List(ctx, ConfigMaps, store.ListOptions{Revision: far})
			return err
		},
		"list exactly": func() error {
			_, err := s.Store.List(ctx, ConfigMaps, store.ListOptions{Revision: far, Exact: true})
			return err
		},
	} {
		wg.Go(func() {
			err := ask()
			if !apierrors.IsTimeout(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
}

func watchEnds(t *testing.T, s *Subject) {
	ns := space(t.Name())
	w := startWatch(t, s.Store, ConfigMaps, store.Query{Namespace: ns}, freshRevision(t, s.Store))
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if _, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	// A context that ended takes nothing from the watcher.
	at := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "1")))
	equal(t, collect(t, testContext(t), w, 1), []seen{{watch.Added, ns + "/a", "1", at}})
	ended := make(chan error)
	go func() {
		_, err := w.Next(testContext(t))
		ended <- err
	}()
	w.Stop()
	w.Stop()
	if err := <-ended; err == nil {
		t.Error("a stopped watcher goes on")
	}
}
