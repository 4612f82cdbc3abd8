package store

import (
	"bytes"
	"math"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestWithRevision holds the merged bytes to what decoding, setting and encoding would have given.
func TestWithRevision(t *testing.T) {
	r := testResource("as", "A")
	full := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: "a", Namespace: "ns", UID: "u", ResourceVersion: "999", Generation: 3, Labels: map[string]string{"a": "b"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: &metav1.FieldsV1{Raw: []byte("{}")}}},
		},
		Data: map[string]string{"k": "v"},
	}
	for _, obj := range []*corev1.ConfigMap{full, {}} {
		value, err := encode(r, obj)
		if err != nil {
			t.Fatal(err)
		}
		for _, revision := range []int64{1, 127, 128, math.MaxInt64} {
			var merged corev1.ConfigMap
			if err := merged.Unmarshal(withRevision(value, revision)); err != nil {
				t.Fatal(err)
			}
			want := obj.DeepCopy()
			want.ResourceVersion = formatRevision(revision)
			a, _ := merged.Marshal()
			b, _ := want.Marshal()
			if !bytes.Equal(a, b) {
				t.Errorf("at %d: %+v is not %+v", revision, merged, want)
			}
		}
	}
	if full.ResourceVersion != "999" {
		t.Errorf("encode left %q behind", full.ResourceVersion)
	}
}

// FuzzEntry reads any value: it is refused, or all forms of it can be had.
func FuzzEntry(f *testing.F) {
	r := testResource("as", "A")
	good, err := encode(r, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "ns", Labels: map[string]string{"x": "y"}}, Data: map[string]string{"k": "v"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(`{"metadata":{"name":"a","namespace":"ns"}}`))
	f.Add([]byte("{"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := newEntry(r, "ns/a", value, 7)
		if err != nil {
			return
		}
		if raw, protobuf := e.Raw(); protobuf == isJSON(value) || len(raw) == 0 {
			t.Errorf("raw is %q, protobuf %t", raw, protobuf)
		}
		if _, err := e.JSON(); err != nil {
			t.Error(err)
		}
		e.supersede()
		if again := e.Object().(*corev1.ConfigMap); again.ResourceVersion != "7" || again.Name != "a" {
			t.Errorf("decoded again it is %+v", again)
		}
		if later := e.at(9).Object().(*corev1.ConfigMap); later.ResourceVersion != "9" {
			t.Errorf("at another revision it says %s", later.ResourceVersion)
		}
	})
}

// TestSuperseded lets go of the decoded object of what was replaced, and still shows it.
func TestSuperseded(t *testing.T) {
	r := testResource("as", "A")
	value, err := encode(r, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "ns"}})
	if err != nil {
		t.Fatal(err)
	}
	tab := newTable(r, logLimits{events: 10, bytes: 1 << 20})
	var entries []*Entry
	for revision := range int64(3) {
		e, err := newEntry(r, "ns/a", value, revision+1)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
		tab.put(e)
	}
	for i, e := range entries {
		if held := e.object.Load() != nil; held != (i == 2) {
			t.Errorf("entry %d keeps its object: %t", i, held)
		}
		if e.Object().(*corev1.ConfigMap).ResourceVersion != formatRevision(e.Revision) {
			t.Errorf("entry %d shows %+v", i, e.Object())
		}
	}
	if entries[0].object.Load() != nil {
		t.Error("a superseded entry keeps what was decoded for a reader")
	}
}
