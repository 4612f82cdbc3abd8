package store

import (
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

const (
	nameField      = "metadata.name"
	namespaceField = "metadata.namespace"
)

// selection is a Query made ready to match many entries.
type selection struct {
	namespace, name string
	only            string          // the one key that can match; "" when there may be several
	labels          labels.Selector // nil: everything
	fields          fields.Selector // nil: everything
}

func (q Query) selection(r *Resource) selection {
	s := q.selectors()
	if key, err := objectKey(r, s.namespace, s.name); err == nil {
		s.only = key
	}
	return s
}

func (q Query) selectors() selection {
	s := selection{namespace: q.Namespace, name: q.Name}
	if q.Labels != nil && !q.Labels.Empty() {
		s.labels = q.Labels
	}
	if q.Fields == nil || q.Fields.Empty() {
		return s
	}
	s.fields = q.Fields
	// What the selector asks of the key can be had from the key, so that it does not scan.
	if name, ok := q.Fields.RequiresExactMatch(nameField); ok && s.name == "" {
		s.name = name
	}
	if namespace, ok := q.Fields.RequiresExactMatch(namespaceField); ok && s.namespace == "" {
		s.namespace = namespace
	}
	return s
}

// selects tells whether anything beyond the namespace narrows: then nobody knows how many remain.
func (s *selection) selects() bool { return s.name != "" || s.labels != nil || s.fields != nil }

func (s *selection) matches(e *Entry) bool {
	switch {
	case s.namespace != "" && s.namespace != e.Namespace:
		return false
	case s.name != "" && s.name != e.Name:
		return false
	case s.labels != nil && !s.labels.Matches(e.Labels):
		return false
	case s.fields != nil && !s.fields.Matches(entryFields{e}):
		return false
	}
	return true
}

// prefix is what every matching object's key begins with.
func (s *selection) prefix() string {
	if s.namespace == "" {
		return ""
	}
	return s.namespace + "/"
}

// entryFields shows an entry's fields without a map of its own for the two that every object has.
type entryFields struct{ e *Entry }

func (f entryFields) Has(field string) bool {
	return field == nameField || field == namespaceField || f.e.Fields.Has(field)
}

func (f entryFields) Get(field string) string {
	switch field {
	case nameField:
		return f.e.Name
	case namespaceField:
		return f.e.Namespace
	}
	return f.e.Fields.Get(field)
}
