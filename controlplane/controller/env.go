package controller

import (
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
)

// env is what all controllers share.
type env struct {
	Config
}

// now is the time as objects keep it, in whole seconds: what is written must be equal to what is read back.
func (e *env) now() metav1.Time {
	now := metav1.NewTime(e.Clock.Now())
	return now.Rfc3339Copy()
}

// addIndexers adds the indexes that the informer does not have yet: several controllers ask for the same ones.
func (e *env) addIndexers(gvr schema.GroupVersionResource, indexers cache.Indexers) error {
	informer := e.Informers.Informer(gvr)
	if informer == nil {
		return fmt.Errorf("index %s: the resource is not served", gvr.Resource)
	}
	have := informer.GetIndexer().GetIndexers()
	missing := cache.Indexers{}
	for name, index := range indexers {
		if _, ok := have[name]; !ok {
			missing[name] = index
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := informer.AddIndexers(missing); err != nil {
		return fmt.Errorf("index %s: %w", gvr.Resource, err)
	}
	return nil
}

func (e *env) indexer(gvr schema.GroupVersionResource) cache.Indexer {
	return e.Informers.Informer(gvr).GetIndexer()
}

// empty makes an object of a kind with only its name set, as Client.Get and Client.Delete want it.
func (e *env) empty(gvk schema.GroupVersionKind, key types.NamespacedName) (api.Object, error) {
	made, err := e.Scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", gvk.Kind, err)
	}
	obj, ok := made.(api.Object)
	if !ok {
		return nil, fmt.Errorf("make %s: the kind has no metadata", gvk.Kind)
	}
	obj.SetNamespace(key.Namespace)
	obj.SetName(key.Name)
	return obj, nil
}

// event records what happened to obj for people to read.
func (e *env) event(obj api.Object, reason, format string, args ...any) {
	e.Recorder.Eventf(obj, corev1.EventTypeNormal, reason, format, args...)
}

// warn records what went wrong with obj for people to read.
func (e *env) warn(obj api.Object, reason, format string, args ...any) {
	e.Recorder.Eventf(obj, corev1.EventTypeWarning, reason, format, args...)
}

// named returns an empty object of obj's type with obj's namespace and name.
func named[T api.Object](obj T) T {
	fresh := reflect.New(reflect.TypeOf(obj).Elem()).Interface().(T)
	fresh.SetNamespace(obj.GetNamespace())
	fresh.SetName(obj.GetName())
	return fresh
}

// keyOf is the key of obj in the queues.
func keyOf(obj metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// lookup reads one object from a cache.
func lookup[T any](indexer cache.Indexer, key types.NamespacedName) (T, bool) {
	var none T
	id := key.Name
	if key.Namespace != "" {
		id = key.String()
	}
	found, ok, err := indexer.GetByKey(id)
	if err != nil || !ok {
		return none, false
	}
	obj, ok := found.(T)
	return obj, ok
}

// byIndex lists the objects of a cache that an index holds under value. The index was added by New, so an error
// would be a fault of this package.
func byIndex[T any](indexer cache.Indexer, index, value string) []T {
	found, err := indexer.ByIndex(index, value)
	if err != nil {
		panic(fmt.Sprintf("read index %s: %v", index, err))
	}
	objects := make([]T, 0, len(found))
	for _, f := range found {
		if obj, ok := f.(T); ok {
			objects = append(objects, obj)
		}
	}
	return objects
}

// list returns every object of a cache.
func list[T any](indexer cache.Indexer) []T {
	found := indexer.List()
	objects := make([]T, 0, len(found))
	for _, f := range found {
		if obj, ok := f.(T); ok {
			objects = append(objects, obj)
		}
	}
	return objects
}
