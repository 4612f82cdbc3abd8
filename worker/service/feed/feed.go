package feed

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

const (
	// An API that is away is asked again after retryBase, doubling to retryMax: a node is to be back with its
	// control plane at once, and there are few nodes.
	retryBase = 100 * time.Millisecond
	retryMax  = 2 * time.Second
)

// Object is what can be followed.
type Object interface {
	runtime.Object
	metav1.Object
}

// Source lists and watches one kind of object, as a typed client of client-go does.
type Source[L runtime.Object] interface {
	List(ctx context.Context, opts metav1.ListOptions) (L, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

// Handler is told of objects.
type Handler[T Object] struct {
	// Set is called with every object that is there, and again when it changes.
	Set func(T)
	// Gone is called with the last known identity of an object that is there no longer.
	Gone func(Key)
	// Synced is called each time everything that there is has been handed on.
	Synced func()
}

// Key identifies one object for good.
type Key struct {
	types.NamespacedName
	UID types.UID
}

// Feed follows one kind of object.
type Feed[T Object] struct {
	reflector *cache.Reflector
	store     *store[T]
}

// New makes a feed of what the source has, so far as fieldSelector lets it through. client is the one that the source
// is of: it tells whether lists can be streamed.
func New[T Object, L runtime.Object](client any, source Source[L], sample T, fieldSelector string, handler Handler[T]) *Feed[T] {
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.FieldSelector = fieldSelector
			return source.List(ctx, opts)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.FieldSelector = fieldSelector
			return source.Watch(ctx, opts)
		},
	}
	f := &Feed[T]{store: &store[T]{handler: handler, known: map[types.NamespacedName]types.UID{}}}
	f.reflector = cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, client), sample, f.store, cache.ReflectorOptions{
		Name: fmt.Sprintf("worker/%T", sample),
		Backoff: &wait.Backoff{
			Duration: retryBase, Cap: retryMax, Factor: 2, Jitter: 0.1,
			Steps: int(math.Ceil(math.Log2(float64(retryMax) / float64(retryBase)))),
		},
	})
	return f
}

// Run follows until ctx ends.
func (f *Feed[T]) Run(ctx context.Context) { f.reflector.RunWithContext(ctx) }

// Synced reports whether everything that there was has been handed on at least once.
func (f *Feed[T]) Synced() bool { return f.store.synced.Load() }

// store is where the reflector believes to keep objects. The reflector calls it from one goroutine.
type store[T Object] struct {
	handler Handler[T]
	known   map[types.NamespacedName]types.UID
	synced  atomic.Bool
}

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// Add implements cache.ReflectorStore.
func (s *store[T]) Add(obj any) error {
	o, ok := obj.(T)
	if !ok {
		return fmt.Errorf("feed got a %T", obj)
	}
	name := nameOf(o)
	if uid, was := s.known[name]; was && uid != o.GetUID() { // deleted and made anew between two looks
		s.handler.Gone(Key{name, uid})
	}
	s.known[name] = o.GetUID()
	o.SetManagedFields(nil)
	s.handler.Set(o)
	return nil
}

// Update implements cache.ReflectorStore.
func (s *store[T]) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s *store[T]) Delete(obj any) error {
	o, ok := obj.(T)
	if !ok {
		return fmt.Errorf("feed got a %T", obj)
	}
	delete(s.known, nameOf(o))
	s.handler.Gone(Key{nameOf(o), o.GetUID()})
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *store[T]) Replace(all []any, _ string) error {
	was := s.known
	s.known = make(map[types.NamespacedName]types.UID, len(all))
	for _, obj := range all {
		if o, ok := obj.(T); ok {
			if uid, had := was[nameOf(o)]; had && uid == o.GetUID() {
				delete(was, nameOf(o))
			}
		}
	}
	for name, uid := range was {
		s.handler.Gone(Key{name, uid})
	}
	for _, obj := range all {
		if err := s.Add(obj); err != nil {
			return err
		}
	}
	s.synced.Store(true)
	if s.handler.Synced != nil {
		s.handler.Synced()
	}
	return nil
}

// Resync implements cache.ReflectorStore.
func (s *store[T]) Resync() error { return nil }
