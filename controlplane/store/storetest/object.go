package storetest

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/petrelrun/petrel/controlplane/store"
)

var objectTests = []test{
	{"CreateAnswersTheRevision", createAnswersRevision},
	{"CreateLeavesItsArgumentAlone", createLeavesArgument},
	{"CreateRefuses", createRefuses},
	{"GetFreshSeesWhatWasAcknowledged", getFresh},
	{"GetNotFound", getNotFound},
	{"FormsAgree", formsAgree},
	{"CopyIsPrivate", copyIsPrivate},
	{"Unknown", unknownResource},
}

func createAnswersRevision(t *testing.T, s *Subject) {
	ns := space(t.Name())
	first := create(t, s.Store, ConfigMaps, configMap(ns, "a", "1"))
	second := create(t, s.Store, Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	third := create(t, s.Store, Notes, &Note{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a"}, Text: "hello"})
	a, b, c := revisionOf(t, first), revisionOf(t, second), revisionOf(t, third)
	if a <= 0 || b <= a || c <= b {
		t.Errorf("revisions %d, %d, %d do not grow", a, b, c)
	}
	if kind := first.GetObjectKind().GroupVersionKind(); kind != ConfigMaps.GVK {
		t.Errorf("created object says it is %s", kind)
	}
	e, err := s.Store.Get(testContext(t), Notes, ns, "a", true)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Object().(*Note); got.Text != "hello" || got.Kind != "Note" || e.Revision != c {
		t.Errorf("got %+v at %d", got, e.Revision)
	}
}

func createLeavesArgument(t *testing.T, s *Subject) {
	obj := configMap(space(t.Name()), "a", "1")
	before := obj.DeepCopy()
	out := create(t, s.Store, ConfigMaps, obj)
	if !apiequality.Semantic.DeepEqual(obj, before) {
		t.Errorf("the argument became %+v", obj)
	}
	if out == runtime.Object(obj) {
		t.Error("the answer is the argument")
	}
}

func createRefuses(t *testing.T, s *Subject) {
	ns := space(t.Name())
	create(t, s.Store, ConfigMaps, configMap(ns, "taken", "1"))
	versioned := configMap(ns, "versioned", "1")
	versioned.ResourceVersion = "7"
	for _, c := range []struct {
		name string
		r    *store.Resource
		obj  runtime.Object
		is   func(error) bool
	}{
		{"taken", ConfigMaps, configMap(ns, "taken", "2"), apierrors.IsAlreadyExists},
		{"versioned", ConfigMaps, versioned, apierrors.IsBadRequest},
		{"no name", ConfigMaps, configMap(ns, "", "1"), apierrors.IsBadRequest},
		{"no namespace", ConfigMaps, configMap("", "a", "1"), apierrors.IsBadRequest},
		{"slash", ConfigMaps, configMap(ns, "a/b", "1"), apierrors.IsBadRequest},
		{"dots", ConfigMaps, configMap("..", "a", "1"), apierrors.IsBadRequest},
		{"zero byte", ConfigMaps, configMap(ns, "a\x00", "1"), apierrors.IsBadRequest},
		{"long name", ConfigMaps, configMap(ns, strings.Repeat("a", 5000), "1"), apierrors.IsBadRequest},
		{"namespaced node", Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "n"}}, apierrors.IsBadRequest},
		{"too large", ConfigMaps, configMap(ns, "large", strings.Repeat("x", 2<<20)), apierrors.IsRequestEntityTooLargeError},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := s.Store.Create(testContext(t), c.r, c.obj); !c.is(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	if e, err := s.Store.Get(testContext(t), ConfigMaps, ns, "taken", true); err != nil || e.Object().(*corev1.ConfigMap).Data["value"] != "1" {
		t.Errorf("the object that was there first became %+v, %v", e, err)
	}
}

func getFresh(t *testing.T, s *Subject) {
	ns := space(t.Name())
	create(t, s.Store, ConfigMaps, configMap(ns, "a", ""))
	for range 200 {
		want := setValue(t, s.Store, ns, "a", strings.Repeat("x", len(t.Name()))+t.Name()).ResourceVersion
		change(t, s.Store, ns, "a", func(cm *corev1.ConfigMap) { cm.Data = nil })
		e, err := s.Store.Get(testContext(t), ConfigMaps, ns, "a", true)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Object().(*corev1.ConfigMap); got.ResourceVersion == want || got.Data != nil {
			t.Fatalf("a fresh get answered the state at %s, which is not the newest", got.ResourceVersion)
		}
	}
}

func getNotFound(t *testing.T, s *Subject) {
	ns := space(t.Name())
	for _, fresh := range []bool{true, false} {
		if _, err := s.Store.Get(testContext(t), ConfigMaps, ns, "none", fresh); !apierrors.IsNotFound(err) {
			t.Errorf("fresh %t: got %v", fresh, err)
		}
	}
	if _, err := s.Store.Get(testContext(t), ConfigMaps, ns, "../../x", true); !apierrors.IsBadRequest(err) {
		t.Errorf("a name with slashes: got %v", err)
	}
}

// formsAgree holds the object, its bytes and its JSON to one another.
func formsAgree(t *testing.T, s *Subject) {
	ns := space(t.Name())
	cm := labelled(configMap(ns, "a", "ä\n"), "app", "web")
	cm.Finalizers, cm.BinaryData = []string{"x/y"}, map[string][]byte{"b": {0, 255}}
	create(t, s.Store, ConfigMaps, cm)
	create(t, s.Store, Notes, &Note{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a"}, Text: "<hello>"})
	for _, c := range []struct {
		r        *store.Resource
		protobuf bool
	}{{ConfigMaps, true}, {Notes, false}} {
		e, err := s.Store.Get(testContext(t), c.r, ns, "a", true)
		if err != nil {
			t.Fatal(err)
		}
		raw, protobuf := e.Raw()
		if protobuf != c.protobuf {
			t.Fatalf("%s: protobuf is %t", c.r.GVK.Kind, protobuf)
		}
		fromRaw, fromJSON := c.r.New(), c.r.New()
		if p, ok := fromRaw.(interface{ Unmarshal([]byte) error }); ok {
			err = p.Unmarshal(raw)
			fromRaw.GetObjectKind().SetGroupVersionKind(c.r.GVK) // protobuf keeps it in the envelope
		} else {
			err = json.Unmarshal(raw, fromRaw)
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := e.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, fromJSON); err != nil {
			t.Fatal(err)
		}
		for form, got := range map[string]runtime.Object{"raw": fromRaw, "JSON": fromJSON} {
			if !apiequality.Semantic.DeepEqual(got, e.Object()) {
				t.Errorf("%s %s: %+v is not %+v", c.r.GVK.Kind, form, got, e.Object())
			}
		}
		if again, _ := e.JSON(); &again[0] != &text[0] {
			t.Errorf("%s: the JSON form was made twice", c.r.GVK.Kind)
		}
		if e.Object() != e.Object() || e.Resource() != c.r || e.Namespace != ns || e.Name != "a" || e.Key() != ns+"/a" {
			t.Errorf("%s: entry is %+v", c.r.GVK.Kind, e)
		}
	}
}

func copyIsPrivate(t *testing.T, s *Subject) {
	ns := space(t.Name())
	create(t, s.Store, ConfigMaps, configMap(ns, "a", "1"))
	e, err := s.Store.Get(testContext(t), ConfigMaps, ns, "a", true)
	if err != nil {
		t.Fatal(err)
	}
	e.Copy().(*corev1.ConfigMap).Data["value"] = "2"
	if got := e.Object().(*corev1.ConfigMap).Data["value"]; got != "1" {
		t.Errorf("a change to the copy made the object %q", got)
	}
}

func unknownResource(t *testing.T, s *Subject) {
	r := &store.Resource{
		GVR: corev1.SchemeGroupVersion.WithResource("secrets"), GVK: corev1.SchemeGroupVersion.WithKind("Secret"),
		Namespaced: true, New: func() runtime.Object { return &corev1.Secret{} },
	}
	if _, err := s.Store.Get(testContext(t), r, "a", "b", true); !apierrors.IsInternalError(err) {
		t.Errorf("got %v", err)
	}
}
