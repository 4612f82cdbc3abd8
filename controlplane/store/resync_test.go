package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// still is a store whose cache moves only when a test says so.
func still(t *testing.T, resources ...*Resource) *Store {
	t.Helper()
	s, err := New(Config{Dir: t.TempDir(), Resources: resources, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	if s.backend, err = openEmbedded(t.Context(), &s.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.backend.close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.refusal.Store(nil)
	return s
}

func testResource(plural, kind string) *Resource {
	return &Resource{
		GVR: corev1.SchemeGroupVersion.WithResource(plural), GVK: corev1.SchemeGroupVersion.WithKind(kind),
		Namespaced: true, New: func() runtime.Object { return &corev1.ConfigMap{} },
	}
}

// state of a resource: name → value.
type values map[string]string

// scribble writes to etcd what the cache does not see.
func scribble(t *testing.T, s *Store, resources []*Resource, writes int, random *rand.Rand) {
	t.Helper()
	for i := range writes {
		r := resources[random.IntN(len(resources))]
		name := fmt.Sprintf("k%d", random.IntN(6))
		key := registryPrefix + tablePath(r) + "/ns/" + name
		var err error
		if random.IntN(3) == 0 {
			_, err = s.backend.client.Delete(t.Context(), key)
		} else {
			obj := &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Data: map[string]string{"value": fmt.Sprint(i, random.Int())},
			}
			var value []byte
			if value, err = encode(r, obj); err == nil {
				_, err = s.backend.client.Put(t.Context(), key, string(value))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// etcdState is a resource's state at a revision, as etcd tells it.
func etcdState(t *testing.T, s *Store, r *Resource, revision int64) values {
	t.Helper()
	prefix := registryPrefix + tablePath(r) + "/"
	resp, err := s.backend.client.Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithRev(revision))
	if err != nil {
		t.Fatal(err)
	}
	v := values{}
	for _, kv := range resp.Kvs {
		e, err := newEntry(r, strings.TrimPrefix(string(kv.Key), prefix), kv.Value, kv.ModRevision)
		if err != nil {
			t.Fatal(err)
		}
		v[e.Name] = e.Object().(*corev1.ConfigMap).Data["value"]
	}
	return v
}

// replay takes a state through a watcher's events, holding each to the state it finds.
func replay(t *testing.T, v values, events []Event) {
	t.Helper()
	for i, e := range events {
		if i > 0 && e.Revision < events[i-1].Revision {
			t.Fatalf("event at %d comes after one at %d", e.Revision, events[i-1].Revision)
		}
		_, was := v[e.Entry.Name]
		if was == (e.Type == watch.Added) {
			t.Fatalf("%s %s at %d, which was there: %t", e.Type, e.Entry.Name, e.Revision, was)
		}
		if e.Type == watch.Deleted {
			delete(v, e.Entry.Name)
		} else {
			v[e.Entry.Name] = e.Entry.Object().(*corev1.ConfigMap).Data["value"]
		}
	}
}

// drain reads all that is there to be read, answer by answer.
func drain(t *testing.T, w Watcher) (answers [][]Event) {
	t.Helper()
	done, cancel := context.WithCancel(t.Context())
	for in := w.(*watcher); ; {
		if n, _, err := peek(in); err != nil {
			t.Fatal(err)
		} else if n == 0 {
			cancel()
			return answers
		}
		events, err := w.Next(done)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, append([]Event(nil), events...))
	}
}

func peek(w *watcher) (int, <-chan struct{}, error) {
	w.cache.mu.RLock()
	defer w.cache.mu.RUnlock()
	var next [1]*change
	n, held := w.table.log.read(w.place, next[:])
	if !held {
		return 0, nil, errors.New("left behind")
	}
	return n, nil, nil
}

// TestResync makes the cache take differences instead of steps, several times, and then watches from every revision
// there was: a watch is either refused, or leads from the state at its start to the present state. The same holds for
// one that breaks off after any event and resumes from there.
func TestResync(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			resources := []*Resource{testResource("as", "A"), testResource("bs", "B")}
			s := still(t, resources...)
			first := s.Revision()
			faithful := startAll(t, s, resources, first)
			var holes [][2]int64
			for range 3 {
				scribble(t, s, resources, 1+random.IntN(12), random)
				before := s.Revision()
				if err := s.resync(t.Context()); err != nil {
					t.Fatal(err)
				}
				holes = append(holes, [2]int64{before, s.Revision()})
			}
			for i, r := range resources {
				now := etcdState(t, s, r, 0)
				v := etcdState(t, s, r, first)
				for _, events := range drain(t, faithful[i]) {
					replay(t, v, events)
				}
				if !maps.Equal(v, now) {
					t.Errorf("who watched all along has %v, not %v", v, now)
				}
				checkExact(t, s, r, first)
				served := checkStarts(t, s, r, first, now)
				if served < 2 { // the last hole's two ends at least
					t.Errorf("%d starts were served, holes %v", served, holes)
				}
			}
		})
	}
}

func startAll(t *testing.T, s *Store, resources []*Resource, from int64) (watchers []Watcher) {
	t.Helper()
	for _, r := range resources {
		w, err := s.Watch(t.Context(), r, Query{}, from)
		if err != nil {
			t.Fatal(err)
		}
		watchers = append(watchers, w)
	}
	return watchers
}

// checkExact lists the state at each revision, also of those that the cache never was at.
func checkExact(t *testing.T, s *Store, r *Resource, first int64) {
	t.Helper()
	for revision := first; revision <= s.Revision(); revision++ {
		l, err := s.List(t.Context(), r, ListOptions{Revision: revision, Exact: true})
		if err != nil {
			t.Fatal(err)
		}
		got := values{}
		for _, e := range l.Entries {
			got[e.Name] = e.Object().(*corev1.ConfigMap).Data["value"]
		}
		if want := etcdState(t, s, r, revision); !maps.Equal(got, want) {
			t.Fatalf("the list of just %d is %v, not %v", revision, got, want)
		}
	}
}

func checkStarts(t *testing.T, s *Store, r *Resource, first int64, now values) (served int) {
	t.Helper()
	for from := first; from <= s.Revision(); from++ {
		w, err := s.Watch(t.Context(), r, Query{}, from)
		if apierrors.IsResourceExpired(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		served++
		v := etcdState(t, s, r, from)
		for _, events := range drain(t, w) {
			for i := range events {
				resumeAfter(t, s, r, v, events[:i+1], now)
			}
			replay(t, v, events)
		}
		if !maps.Equal(v, now) {
			t.Fatalf("a watch from %d leads to %v, not %v", from, v, now)
		}
		if w.Revision() != s.Revision() {
			t.Errorf("a watch from %d has seen all, and says %d", from, w.Revision())
		}
	}
	return served
}

// resumeAfter is a client that had a state, saw some events, and resumes from the last one's revision.
func resumeAfter(t *testing.T, s *Store, r *Resource, v values, events []Event, now values) {
	t.Helper()
	v = maps.Clone(v)
	replay(t, v, events)
	from := events[len(events)-1].Revision
	w, err := s.Watch(t.Context(), r, Query{}, from)
	if apierrors.IsResourceExpired(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range drain(t, w) {
		replay(t, v, answer)
	}
	if !maps.Equal(v, now) {
		t.Fatalf("a watch resumed from %d leads to %v, not %v", from, v, now)
	}
}

// TestResyncReplaced sets etcd back, as a restored backup does.
func TestResyncReplaced(t *testing.T) {
	r := testResource("as", "A")
	s := still(t, r)
	random := rand.New(rand.NewPCG(1, 1))
	scribble(t, s, []*Resource{r}, 20, random)
	if err := s.resync(t.Context()); err != nil {
		t.Fatal(err)
	}
	from := s.Revision()
	w, err := s.Watch(t.Context(), r, Query{}, from)
	if err != nil {
		t.Fatal(err)
	}
	s.cache.update(from+1000, func() {}) // as if etcd had been there before
	if err := s.fresh(t.Context()); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a revision that went back: %v", err)
	}
	select {
	case <-s.suspect:
	default:
		t.Error("the follower was not told")
	}
	if err := s.resync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Revision() != from {
		t.Errorf("the cache is at %d, etcd at %d", s.Revision(), from)
	}
	if _, err := w.Next(t.Context()); !apierrors.IsResourceExpired(err) {
		t.Errorf("a watcher from before: %v", err)
	}
	l, err := s.List(t.Context(), r, ListOptions{Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := etcdState(t, s, r, 0); len(l.Entries) != len(want) || l.Revision != from {
		t.Errorf("%d objects at %d, not %d", len(l.Entries), l.Revision, len(want))
	}
	s.identity = "another" // etcd, with a revision that fits
	if w, err = s.Watch(t.Context(), r, Query{}, from); err != nil {
		t.Fatal(err)
	}
	if err := s.resync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Next(t.Context()); !apierrors.IsResourceExpired(err) {
		t.Errorf("a watcher of another etcd: %v", err)
	}
}

// TestResyncRecreated loses a deletion and a creation of one name: they must not look like a change of one object.
func TestResyncRecreated(t *testing.T) {
	r := testResource("as", "A")
	s := still(t, r)
	key := registryPrefix + tablePath(r) + "/ns/a"
	place := func(uid string) int64 {
		value, err := encode(r, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", UID: types.UID(uid)}})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.backend.client.Put(t.Context(), key, string(value))
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header.Revision
	}
	place("one")
	if err := s.resync(t.Context()); err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch(t.Context(), r, Query{}, s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.backend.client.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	created := place("two")
	if err := s.resync(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, answer := range drain(t, w) {
		for _, e := range answer {
			got = append(got, fmt.Sprint(e.Type, e.Entry.Object().(*corev1.ConfigMap).UID, created-e.Revision))
		}
	}
	if want := "[DELETEDone1 ADDEDtwo0]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, not %s", got, want)
	}
}
