package store

import (
	"encoding/json"
	"fmt"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Entry is one object at one revision, immutable. It keeps the stored bytes; the decoded object and the JSON form are
// made once, when someone asks, and shared by all who do.
type Entry struct {
	Namespace, Name string
	Revision        int64
	Labels          labels.Set
	Fields          fields.Set // what Resource.Fields answered; the metadata's own fields are not in it

	key      string // namespace/name, or name
	raw      []byte // protobuf: as stored, then the resourceVersion as a field to merge; JSON: as stored
	stored   int    // how much of raw is the stored value
	protobuf bool
	resource *Resource
	object   atomic.Pointer[runtime.Object]
	json     atomic.Pointer[[]byte]
	// superseded entries live on in the event log only; they do not keep their decoded object, several times the size
	// of their bytes, alive.
	superseded atomic.Bool
}

// newEntry decodes value, so that an Entry that exists can always be decoded.
func newEntry(r *Resource, key string, value []byte, revision int64) (*Entry, error) {
	namespace, name, err := splitObjectKey(r, key)
	if err != nil {
		return nil, fmt.Errorf("read key %q: %w", clip(key), err)
	}
	obj, err := decode(r, value, revision)
	if err != nil {
		return nil, err
	}
	if err := checkNames(obj, namespace, name); err != nil {
		return nil, err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	e := &Entry{Namespace: namespace, Name: name, Labels: m.GetLabels(), key: key, resource: r}
	if r.Fields != nil {
		e.Fields = r.Fields(obj)
	}
	_, typed := obj.(protobufObject)
	e.setBytes(value, revision, typed && !isJSON(value))
	e.object.Store(&obj)
	return e, nil
}

func (e *Entry) setBytes(value []byte, revision int64, protobuf bool) {
	e.Revision, e.stored, e.protobuf, e.raw = revision, len(value), protobuf, value
	if protobuf {
		e.raw = withRevision(value, revision)
	}
}

// at is the same state told at another revision: the last state of what was deleted, or left a selection, there.
func (e *Entry) at(revision int64) *Entry {
	c := &Entry{
		Namespace: e.Namespace, Name: e.Name, Labels: e.Labels, Fields: e.Fields, key: e.key, resource: e.resource,
	}
	c.setBytes(e.value(), revision, e.protobuf)
	c.superseded.Store(true)
	return c
}

// value is what etcd holds.
func (e *Entry) value() []byte { return e.raw[:e.stored:e.stored] }

// Key is namespace/name, or the name alone: what client-go's indexers use.
func (e *Entry) Key() string { return e.key }

// Resource is what the entry is one of.
func (e *Entry) Resource() *Resource { return e.resource }

// Object is the typed object, its kind and resourceVersion set. It is shared: whoever wants to change it takes Copy.
func (e *Entry) Object() runtime.Object {
	if o := e.object.Load(); o != nil {
		return *o
	}
	obj, err := decode(e.resource, e.value(), e.Revision)
	if err != nil {
		// newEntry decoded the same bytes; that they no longer decode is a bug, not an input.
		panic(fmt.Sprintf("store: decode %s again: %v", e.key, err))
	}
	if e.superseded.Load() {
		return obj
	}
	if !e.object.CompareAndSwap(nil, &obj) {
		if o := e.object.Load(); o != nil {
			return *o
		}
	}
	if e.superseded.Load() { // it may have become so meanwhile
		e.object.Store(nil)
	}
	return obj
}

// Copy is a private copy of Object.
func (e *Entry) Copy() runtime.Object { return e.Object().DeepCopyObject() }

// Raw is the object's bytes with the resourceVersion in them, and whether they are protobuf (the bare message, without
// Kubernetes' envelope) or JSON. They are shared and must not be changed.
func (e *Entry) Raw() (raw []byte, protobuf bool) {
	if e.protobuf {
		return e.raw, true
	}
	b, err := e.JSON()
	if err != nil {
		panic(fmt.Sprintf("store: encode %s: %v", e.key, err)) // it was decoded from JSON
	}
	return b, false
}

// JSON is the object as JSON, made once. The bytes are shared and must not be changed.
func (e *Entry) JSON() ([]byte, error) {
	if b := e.json.Load(); b != nil {
		return *b, nil
	}
	b, err := json.Marshal(e.Object())
	if err != nil {
		return nil, fmt.Errorf("encode %s %q: %w", e.resource.GVK.Kind, e.key, err)
	}
	if !e.json.CompareAndSwap(nil, &b) {
		return *e.json.Load(), nil
	}
	return b, nil
}

// supersede is called when a newer state took this one's place.
func (e *Entry) supersede() {
	e.superseded.Store(true)
	e.object.Store(nil)
}
