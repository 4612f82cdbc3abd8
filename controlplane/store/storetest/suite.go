package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/petrelrun/petrel/controlplane/store"
)

// patience bounds anything a test waits for; nothing comes near it unless it is broken.
const patience = 3 * time.Minute

// Options are what a subject is opened with.
type Options struct {
	Resources []*store.Resource
	// LogEvents bounds the event log of each resource; 0: as the implementation likes.
	LogEvents int
}

// Subject is a store under test.
type Subject struct {
	Store store.Interface
	// Compact makes the history before a revision be forgotten.
	Compact func(t testing.TB, revision int64)
	// Reopen ends the store and opens another over the same data.
	Reopen func(t testing.TB) store.Interface
}

// Open opens an empty subject; it registers its own cleanup.
type Open func(t testing.TB, o Options) *Subject

// Run runs the whole suite. Most tests share one subject, each in namespaces of its own, so that each sees the others'
// writes pass by.
func Run(t *testing.T, open Open) {
	shared := open(t, Options{Resources: Resources()})
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"Object", objectTests}, {"Update", updateTests}, {"Remove", removeTests},
		{"List", listTests}, {"Page", pageTests}, {"Watch", watchTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range group.tests {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(t, shared)
				})
			}
		})
	}
	for _, group := range []struct {
		name  string
		tests []ownTest
	}{{"Log", logTests}, {"Compaction", compactionTests}, {"Restart", restartTests}} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range group.tests {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(t, open)
				})
			}
		})
	}
}

// test runs on the shared subject.
type test struct {
	name string
	run  func(*testing.T, *Subject)
}

// ownTest opens subjects of its own.
type ownTest struct {
	name string
	run  func(*testing.T, Open)
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
