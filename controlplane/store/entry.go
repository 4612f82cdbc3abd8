package store

import (
	"sync"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Entry is one object at one revision, immutable. Reads copy its bytes; decoding happens once, when someone asks.
type Entry struct {
	Namespace, Name string
	Revision        int64
	Labels          labels.Set
	Fields          fields.Set

	raw      []byte // as stored, with the resourceVersion merged in
	protobuf bool
	resource *Resource
	once     sync.Once
	object   runtime.Object
	jsonOnce sync.Once
	json     []byte
}
