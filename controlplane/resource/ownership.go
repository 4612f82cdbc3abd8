package resource

import (
	"crypto/sha256"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// maxKnownOwnerships bounds the cache: it is for controllers that make one object many times over, such as the pods
// of a ReplicaSet, of which there are never many kinds at once.
const maxKnownOwnerships = 512

// ownerships remembers which fields a new object has, by its content. Working that out costs a quarter of a create,
// and the pods of a ReplicaSet differ in nothing but their names.
type ownerships struct {
	mu    sync.Mutex
	known map[contentKey][]byte // FieldsV1
}

type contentKey [sha256.Size]byte

type protobufObject interface{ Marshal() ([]byte, error) }

// keyOf is the hash of an object without what makes it one of many: its name, UID and creation time, which no
// manager owns. ok is false where there is no cheap way to it.
func keyOf(obj runtime.Object, m metav1.Object) (key contentKey, ok bool) {
	p, isProtobuf := obj.(protobufObject)
	if !isProtobuf || m.GetManagedFields() != nil {
		return key, false
	}
	name, uid, created := m.GetName(), m.GetUID(), m.GetCreationTimestamp()
	m.SetName("")
	m.SetUID(types.UID(""))
	m.SetCreationTimestamp(metav1.Time{})
	raw, err := p.Marshal()
	m.SetName(name)
	m.SetUID(uid)
	m.SetCreationTimestamp(created)
	if err != nil {
		return key, false
	}
	h := sha256.New()
	h.Write([]byte(obj.GetObjectKind().GroupVersionKind().String()))
	h.Write(raw)
	return contentKey(h.Sum(nil)), true
}

func (o *ownerships) get(key contentKey) ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fields, ok := o.known[key]
	return fields, ok
}

func (o *ownerships) put(key contentKey, fields []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil || len(o.known) >= maxKnownOwnerships {
		o.known = map[contentKey][]byte{}
	}
	o.known[key] = fields
}

// created records that the manager owns every field of a new object.
func (m *managers) created(d *Definition, call Call, now metav1.Time, obj runtime.Object) (runtime.Object, error) {
	if call.Manager == "" {
		return obj, nil
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	key, cacheable := keyOf(obj, accessor)
	if cacheable {
		if fields, ok := m.ownerships.get(key); ok {
			accessor.SetManagedFields([]metav1.ManagedFieldsEntry{{
				Manager: call.Manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: d.GVK.GroupVersion().String(),
				Time: &now, FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: fields},
			}})
			return obj, nil
		}
	}
	fm, err := m.get(d, call.Subresource)
	if err != nil {
		return nil, err
	}
	out, err := fm.Update(d.Rules.New(), obj, call.Manager)
	if err != nil {
		return nil, err
	}
	if accessor, err = meta.Accessor(out); err != nil {
		return nil, err
	}
	if entries := accessor.GetManagedFields(); cacheable && len(entries) == 1 && entries[0].FieldsV1 != nil {
		m.ownerships.put(key, entries[0].FieldsV1.Raw)
	}
	return out, nil
}
