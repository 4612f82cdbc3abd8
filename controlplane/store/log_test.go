package store

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func logEntry(t *testing.T, r *Resource, revision int64, size int) *Entry {
	t.Helper()
	value, err := encode(r, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(revision % 5), Namespace: "ns"}, Data: map[string]string{"x": strings.Repeat("x", size)},
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEntry(r, "ns/"+fmt.Sprint(revision%5), value, revision)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestLogBounds appends far more than a log holds: whatever the bound, it is kept, and places stay true.
func TestLogBounds(t *testing.T) {
	r := testResource("as", "A")
	for name, limits := range map[string]logLimits{
		"events":         {events: 7, bytes: 1 << 30},
		"bytes":          {events: 1 << 30, bytes: 40 << 10},
		"less than one":  {events: 1 << 30, bytes: 10},
		"a single event": {events: 1, bytes: 1 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			tab := newTable(r, limits)
			for revision := int64(1); revision <= 500; revision++ {
				tab.put(logEntry(t, r, revision, 2000))
				l := &tab.log
				live := l.changes[l.head:]
				if len(live) > limits.events || l.bytes > limits.bytes {
					t.Fatalf("at %d it holds %d events, %d bytes", revision, len(live), l.bytes)
				}
				if len(l.changes) > 2*len(live)+2 {
					t.Fatalf("at %d it keeps %d slots for %d events", revision, len(l.changes), len(live))
				}
				if l.end() != revision || l.base != revision-int64(len(live)) || l.floor != revision-int64(len(live)) {
					t.Fatalf("at %d it goes from %d, floor %d, to %d with %d", revision, l.base, l.floor, l.end(), len(live))
				}
				var sum, forms int64
				for i, c := range live {
					sum += c.bytes()
					forms += int64(3 * len(c.cur.raw)) // as stored, and as JSON
					if c.revision != l.base+int64(i)+1 || l.after(c.revision) != c.revision {
						t.Fatalf("place %d holds %d", l.base+int64(i), c.revision)
					}
				}
				if forms > limits.bytes {
					t.Fatalf("at %d it may come to keep %d bytes", revision, forms)
				}
				if sum != l.bytes {
					t.Fatalf("at %d it counts %d bytes of %d", revision, l.bytes, sum)
				}
			}
		})
	}
}

// TestSharedRevision reads changes of one revision, another program's transaction on several keys, in two answers: in
// between, the watcher must not claim to have seen the revision.
func TestSharedRevision(t *testing.T) {
	r := testResource("as", "A")
	c := newCache([]*Resource{r}, logLimits{events: 1 << 20, bytes: 1 << 30})
	tab := c.tables[tablePath(r)]
	const first, shared = maxNextEvents - 2, 4
	c.update(1000, func() {
		for i := range int64(first) {
			tab.put(logEntry(t, r, i+1, 1))
		}
		for i := range int64(shared) {
			e := logEntry(t, r, i, 1)
			tab.put(e.at(1000))
		}
	})
	w := &watcher{cache: c, table: tab, stop: make(chan struct{})}
	for i, want := range []struct {
		events   int
		revision int64
	}{{maxNextEvents, 999}, {2, 1000}} {
		events, err := w.Next(t.Context())
		if err != nil || len(events) != want.events || w.Revision() != want.revision {
			t.Errorf("answer %d: %d events, %v, revision %d", i, len(events), err, w.Revision())
		}
	}
}
