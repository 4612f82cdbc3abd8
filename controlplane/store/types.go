package store

import (
	"context"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// Resource tells the store how one kind is kept.
type Resource struct {
	// GVR is used in errors, and with GVK in what is decoded.
	GVR schema.GroupVersionResource
	GVK schema.GroupVersionKind
	// Namespaced resources are kept at /registry/<group or core>/<resource>/<namespace>/<name>, others without the
	// namespace.
	Namespaced bool
	// New makes an empty object of GVK's Go type. Types with Marshal and Unmarshal (gogo protobuf) are kept as
	// protobuf, others as JSON.
	New func() runtime.Object
	// Fields gives the selectable fields beyond metadata.name and metadata.namespace; nil: none.
	Fields func(runtime.Object) fields.Set
}

// Query narrows a list or a watch. The zero Query is everything.
type Query struct {
	Namespace string
	// Name narrows to one object; it is cheaper than the field selector metadata.name.
	Name   string
	Labels labels.Selector // nil: everything
	Fields fields.Selector // nil: everything
}

// ListOptions says how fresh a list must be and how much of it is wanted.
type ListOptions struct {
	Query
	Limit    int64  // 0: no limit
	Continue string // an opaque token from an earlier page; pins that page's revision
	// Revision and Match are resourceVersion and resourceVersionMatch of a request, already parsed.
	// Match "" with Revision 0 and Fresh false reads the cache as it is.
	Revision int64
	Exact    bool // resourceVersionMatch=Exact: the state at just this revision
	Fresh    bool // linearizable: at least as new as any write that was acknowledged before the call
}

// List is one page.
type List struct {
	Entries   []*Entry
	Revision  int64
	Continue  string
	Remaining *int64 // nil when it is not known (a selector is set)
}

// Verdict is what an UpdateFunc wants done.
type Verdict int

// The verdicts.
const (
	Keep   Verdict = iota // write nothing; the current object is the answer
	Put                   // write next; a byte-identical object is not written and keeps its revision
	Remove                // delete the key; next is the last state that watchers are shown
)

// UpdateFunc computes the next state from the current one, which it owns (a private copy). It may be called again
// with a newer state when the guarded transaction lost a race.
type UpdateFunc func(current runtime.Object) (next runtime.Object, verdict Verdict, err error)

// Preconditions guard an update or a deletion.
type Preconditions struct {
	UID      *types.UID
	Revision *int64
}

// Event is one change as a watcher with a Query sees it: an object that comes into the selection is ADDED, one that
// leaves it is DELETED, whatever happened to the key.
type Event struct {
	Type     watch.EventType
	Entry    *Entry // for DELETED the last state that matched, with the revision of the change
	Revision int64
}

// Interface is what the rooms above ask of the store; Store implements it and the conformance suite holds any other
// implementation to the same behaviour. Errors are k8s.io/apimachinery/pkg/api/errors' (AlreadyExists, NotFound,
// Conflict, ResourceExpired, Timeout …).
type Interface interface {
	// Create writes obj where nothing stood and answers a copy with its resourceVersion.
	Create(ctx context.Context, r *Resource, obj runtime.Object) (runtime.Object, error)
	// Get reads one object. With fresh it is linearizable, without it the cache answers as it is.
	Get(ctx context.Context, r *Resource, namespace, name string, fresh bool) (*Entry, error)
	// Update runs fn on the current state and writes its answer in a transaction guarded by the revision read,
	// again and again until it holds (at most a named number of tries, then Conflict).
	// removed tells that the key is gone; obj is then its last state.
	Update(ctx context.Context, r *Resource, namespace, name string, pre Preconditions, fn UpdateFunc) (obj runtime.Object, removed bool, err error)
	// List answers a page.
	List(ctx context.Context, r *Resource, opts ListOptions) (*List, error)
	// Watch gives the changes after revision from, in order, without a gap or a duplicate, or ResourceExpired where
	// the event log no longer reaches back that far. It never blocks on a slow reader: a watcher is a place in a
	// shared log, and one that the log has left behind gets ResourceExpired from Next.
	Watch(ctx context.Context, r *Resource, q Query, from int64) (Watcher, error)
	// Revision is the newest revision the cache has applied.
	Revision() int64
}

// Watcher reads changes. It is for one goroutine.
type Watcher interface {
	// Next blocks until there is at least one event, ctx ends (its error), or the watcher has fallen out of the log
	// (ResourceExpired). The slice is the watcher's until the next call.
	Next(ctx context.Context) ([]Event, error)
	// Revision is the revision up to which everything has been seen: what a bookmark may carry.
	Revision() int64
	// Stop releases the watcher. It is safe to call twice.
	Stop()
}
