package apptest

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/petrelrun/petrel/controlplane/api"
)

// Store keeps objects in memory and implements the Client that controllers and the deploy API write through.
type Store struct {
	scheme *runtime.Scheme

	mu       sync.Mutex
	before   func(verb string, obj api.Object) error
	revision int64
	uids     int64
	objects  map[key]api.Object
	watchers map[*watcher]struct{}
}

type key struct {
	resource        schema.GroupResource
	namespace, name string
}

// watchBuffer is more events than any test makes between two looks of an informer.
const watchBuffer = 100_000

type watcher struct {
	resource schema.GroupResource
	events   *watch.FakeWatcher
}

// NewStore makes a store with the namespaces.
func NewStore(namespaces ...string) *Store {
	s := &Store{scheme: runtime.NewScheme(), objects: map[key]api.Object{}, watchers: map[*watcher]struct{}{}}
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, api.AddToScheme} {
		if err := add(s.scheme); err != nil {
			panic(err)
		}
	}
	for _, name := range namespaces {
		if _, err := s.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			panic(err)
		}
	}
	return s
}

// SetBeforeWrite sets what may refuse a write: verb is create, update, updatestatus or delete. It must not use the
// store.
func (s *Store) SetBeforeWrite(rule func(verb string, obj api.Object) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = rule
}

// Get reads one object.
func (s *Store) Get(_ context.Context, obj api.Object) (api.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keyOf(obj)
	found, ok := s.objects[k]
	if !ok {
		return nil, apierrors.NewNotFound(k.resource, k.name)
	}
	return clone(found), nil
}

// Create adds an object whose namespace exists.
func (s *Store) Create(_ context.Context, obj api.Object) (api.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse("create", obj); err != nil {
		return nil, err
	}
	obj = clone(obj)
	if obj.GetName() == "" && obj.GetGenerateName() != "" {
		obj.SetName(obj.GetGenerateName() + strconv.FormatInt(s.uids+1, 36))
	}
	k := s.keyOf(obj)
	if _, ok := s.objects[k]; ok {
		return nil, apierrors.NewAlreadyExists(k.resource, k.name)
	}
	if k.namespace != "" {
		if _, ok := s.objects[key{resource: schema.GroupResource{Resource: "namespaces"}, name: k.namespace}]; !ok {
			return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, k.namespace)
		}
	}
	if err := s.validate(obj, nil); err != nil {
		return nil, err
	}
	s.scheme.Default(obj)
	s.uids++
	obj.SetUID(types.UID("uid-" + strconv.FormatInt(s.uids, 10)))
	obj.SetGeneration(1)
	obj.SetCreationTimestamp(metav1.NewTime(time.Now()))
	s.put(k, obj, watch.Added)
	created := clone(obj)
	if s.orphaned(obj) { // the garbage collector comes by and by; here at once
		s.remove(k, obj)
	}
	return created, nil
}

// orphaned tells that an object's owners are gone.
func (s *Store) orphaned(obj api.Object) bool {
	refs := obj.GetOwnerReferences()
	for _, other := range s.objects {
		for _, ref := range refs {
			if ref.UID == other.GetUID() {
				return false
			}
		}
	}
	return len(refs) > 0
}

// Update writes everything but the status.
func (s *Store) Update(_ context.Context, obj api.Object) (api.Object, error) {
	return s.update("update", obj, func(next, current reflect.Value) { copyField(next, current, "Status") })
}

// UpdateStatus writes the status alone.
func (s *Store) UpdateStatus(_ context.Context, obj api.Object) (api.Object, error) {
	return s.update("updatestatus", obj, func(next, current reflect.Value) {
		status := reflect.New(next.FieldByName("Status").Type()).Elem()
		status.Set(next.FieldByName("Status"))
		// A node writes annotations with its pods' status.
		annotations := next.FieldByName("Annotations").Interface()
		next.Set(current)
		next.FieldByName("Status").Set(status)
		next.FieldByName("Annotations").Set(reflect.ValueOf(annotations))
	})
}

func (s *Store) update(verb string, obj api.Object, merge func(next, current reflect.Value)) (api.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse(verb, obj); err != nil {
		return nil, err
	}
	k := s.keyOf(obj)
	current, ok := s.objects[k]
	if !ok {
		return nil, apierrors.NewNotFound(k.resource, k.name)
	}
	if rv := obj.GetResourceVersion(); rv != "" && rv != current.GetResourceVersion() {
		return nil, apierrors.NewConflict(k.resource, k.name, fmt.Errorf("the object has been modified"))
	}
	next := clone(obj)
	merge(reflect.ValueOf(next).Elem(), reflect.ValueOf(clone(current)).Elem())
	if err := s.validate(next, current); err != nil {
		return nil, err
	}
	next.SetResourceVersion(current.GetResourceVersion())
	next.SetGeneration(current.GetGeneration())
	if equality.Semantic.DeepEqual(next, current) {
		return next, nil
	}
	if !equality.Semantic.DeepEqual(specOf(next), specOf(current)) {
		next.SetGeneration(current.GetGeneration() + 1)
	}
	s.put(k, next, watch.Modified)
	return clone(next), nil
}

// Delete removes an object and what it owns.
func (s *Store) Delete(_ context.Context, obj api.Object, opts metav1.DeleteOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse("delete", obj); err != nil {
		return err
	}
	k := s.keyOf(obj)
	current, ok := s.objects[k]
	if !ok {
		return apierrors.NewNotFound(k.resource, k.name)
	}
	if p := opts.Preconditions; p != nil && p.UID != nil && *p.UID != current.GetUID() {
		return apierrors.NewConflict(k.resource, k.name, fmt.Errorf("the UID differs"))
	}
	s.remove(k, current)
	return nil
}

func (s *Store) remove(k key, obj api.Object) {
	delete(s.objects, k)
	s.tell(k, watch.Deleted, obj)
	for other, dependent := range s.objects {
		for _, ref := range dependent.GetOwnerReferences() {
			if ref.UID == obj.GetUID() {
				s.remove(other, dependent)
			}
		}
	}
}

// Bind and Finalize complete the Client; nothing here binds or finalizes through it.
func (s *Store) Bind(context.Context, *corev1.Binding) error {
	return apierrors.NewMethodNotSupported(schema.GroupResource{Resource: "pods"}, "bind")
}

// Finalize is not supported either.
func (s *Store) Finalize(context.Context, *corev1.Namespace) error {
	return apierrors.NewMethodNotSupported(schema.GroupResource{Resource: "namespaces"}, "finalize")
}

func (s *Store) refuse(verb string, obj api.Object) error {
	if s.before == nil {
		return nil
	}
	return s.before(verb, obj)
}

func (s *Store) put(k key, obj api.Object, kind watch.EventType) {
	s.revision++
	obj.SetResourceVersion(strconv.FormatInt(s.revision, 10))
	s.objects[k] = obj
	s.tell(k, kind, obj)
}

func (s *Store) tell(k key, kind watch.EventType, obj api.Object) {
	for w := range s.watchers {
		if w.resource == k.resource {
			w.events.Action(kind, clone(obj))
		}
	}
}

func clone(obj api.Object) api.Object { return obj.DeepCopyObject().(api.Object) }

func copyField(next, current reflect.Value, name string) {
	if f := next.FieldByName(name); f.IsValid() {
		f.Set(current.FieldByName(name))
	}
}

func specOf(obj api.Object) any {
	if f := reflect.ValueOf(obj).Elem().FieldByName("Spec"); f.IsValid() {
		return f.Interface()
	}
	return nil
}

// validate holds Petrel's own kinds to their rules, as the API server does.
func (s *Store) validate(obj, old api.Object) error {
	switch o := obj.(type) {
	case *api.App:
		if errs := api.ValidateApp(o); len(errs) > 0 {
			return apierrors.NewInvalid(api.AppResource.GVK.GroupKind(), o.Name, errs)
		}
	case *api.Revision:
		errs := api.ValidateRevision(o)
		if old != nil {
			errs = api.ValidateRevisionUpdate(o, old.(*api.Revision))
		}
		if len(errs) > 0 {
			return apierrors.NewInvalid(api.RevisionResource.GVK.GroupKind(), o.Name, errs)
		}
	}
	return nil
}

func (s *Store) keyOf(obj api.Object) key {
	kinds, _, err := s.scheme.ObjectKinds(obj)
	if err != nil {
		panic(err)
	}
	for _, r := range resources {
		if r.GVK == kinds[0] {
			return key{resource: r.GVR.GroupResource(), namespace: obj.GetNamespace(), name: obj.GetName()}
		}
	}
	panic("apptest does not serve " + kinds[0].String())
}
