package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
)

type protobufObject interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// encode gives obj's bytes as they are kept: without the resourceVersion, which is the revision of the key, and for
// protobuf without the envelope, since the key already says what it is. obj must be the caller's own; it is changed
// while this runs and put back.
func encode(r *Resource, obj runtime.Object) ([]byte, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", r.GVK.Kind, err)
	}
	version := m.GetResourceVersion()
	m.SetResourceVersion("")
	defer m.SetResourceVersion(version)
	var value []byte
	if p, ok := obj.(protobufObject); ok {
		value, err = p.Marshal()
	} else {
		obj.GetObjectKind().SetGroupVersionKind(r.GVK)
		value, err = json.Marshal(obj)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %s %q: %w", r.GVK.Kind, m.GetName(), err)
	}
	return value, nil
}

// decode makes a typed object of a value; its resourceVersion and type are set.
func decode(r *Resource, value []byte, revision int64) (runtime.Object, error) {
	obj := r.New()
	if len(value) == 0 {
		return nil, fmt.Errorf("decode %s: value is empty", r.GVK.Kind)
	}
	if p, ok := obj.(protobufObject); ok && !isJSON(value) {
		if err := p.Unmarshal(value); err != nil {
			return nil, fmt.Errorf("decode %s: %w", r.GVK.Kind, err)
		}
	} else if err := json.Unmarshal(value, obj); err != nil {
		return nil, fmt.Errorf("decode %s: %w", r.GVK.Kind, err)
	}
	obj.GetObjectKind().SetGroupVersionKind(r.GVK)
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", r.GVK.Kind, err)
	}
	m.SetResourceVersion(formatRevision(revision))
	return obj, nil
}

// isJSON tells the two encodings apart, so that a type can move from one to the other without a migration: an opening
// brace would be a group of field 15, and no API type has either.
func isJSON(value []byte) bool { return len(value) > 0 && value[0] == '{' }

// withRevision merges a resourceVersion into protobuf bytes without decoding them: field 1 of every API object is its
// ObjectMeta, field 6 of that the resourceVersion, and protobuf merges a message field that occurs twice.
func withRevision(value []byte, revision int64) []byte {
	const metadataField, versionField = 1<<3 | 2, 6<<3 | 2
	digits := formatRevision(revision)
	raw := make([]byte, 0, len(value)+4+len(digits))
	raw = append(raw, value...)
	raw = append(raw, metadataField, byte(2+len(digits)), versionField, byte(len(digits)))
	return append(raw, digits...)
}

func formatRevision(revision int64) string { return strconv.FormatInt(revision, 10) }

var errNamesDiffer = errors.New("the object's name is not its key's")

// checkNames holds a decoded object to the key it was found under; a value copied to a wrong key would otherwise be
// served under a name it does not answer to.
func checkNames(obj runtime.Object, namespace, name string) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	if m.GetNamespace() != namespace || m.GetName() != name {
		return errNamesDiffer
	}
	return nil
}
