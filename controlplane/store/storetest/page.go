package storetest

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/petrelrun/petrel/controlplane/store"
)

var pageTests = []test{
	{"PinnedWhileWriting", pagesPinned},
	{"NothingWritten", pagesQuiet},
	{"WithSelector", pagesSelected},
	{"BadTokens", pagesBadTokens},
	{"TokenStaysInItsPlace", pagesStayInPlace},
}

func fill(t testing.TB, s store.Interface, namespace string, n int) {
	t.Helper()
	for i := range n {
		cm := configMap(namespace, fmt.Sprintf("%03d", i), "1")
		create(t, s, ConfigMaps, labelled(cm, "mod3", fmt.Sprint(i%3)))
	}
}

// walk reads all pages. between is called after each but the last.
func walk(t testing.TB, s store.Interface, o store.ListOptions, between func(page int)) (keys []string, revision int64) {
	t.Helper()
	for page := 1; ; page++ {
		l := list(t, s, ConfigMaps, o)
		if revision != 0 && l.Revision != revision {
			t.Errorf("page %d is of %d, not of %d", page, l.Revision, revision)
		}
		revision = l.Revision
		for _, e := range l.Entries {
			if e.Revision > revision {
				t.Errorf("page %d, of %d, holds %s at %d", page, revision, e.Key(), e.Revision)
			}
		}
		if o.Limit > 0 && int64(len(l.Entries)) > o.Limit {
			t.Errorf("page %d has %d entries", page, len(l.Entries))
		}
		keys = append(keys, names(l)...)
		if l.Continue == "" {
			if l.Remaining != nil {
				t.Errorf("the last page says that %d remain", *l.Remaining)
			}
			return keys, revision
		}
		o.Continue, o.Fresh = l.Continue, false
		between(page)
	}
}

func pagesPinned(t *testing.T, s *Subject) {
	const objects, size = 25, 4
	ns := space(t.Name())
	fill(t, s.Store, ns, objects)
	// Those that are still to come are changed, removed and joined by others.
	disturb := func(page int) {
		at := page*size + 1
		if at < objects {
			setValue(t, s.Store, ns, fmt.Sprintf("%03d", at), "2")
		}
		if at+1 < objects {
			remove(t, s.Store, ConfigMaps, ns, fmt.Sprintf("%03d", at+1))
		}
		create(t, s.Store, ConfigMaps, configMap(ns, fmt.Sprintf("%03d-new", at), "1"))
	}
	o := store.ListOptions{Query: store.Query{Namespace: ns}, Limit: size, Fresh: true}
	first := list(t, s.Store, ConfigMaps, o)
	if first.Remaining == nil || *first.Remaining != objects-size {
		t.Errorf("after the first page %v remain", first.Remaining)
	}
	keys, _ := walk(t, s.Store, o, disturb)
	if len(keys) != objects {
		t.Fatalf("%d objects, not %d: %v", len(keys), objects, keys)
	}
	for i, key := range keys {
		if want := fmt.Sprintf("%s/%03d", ns, i); key != want {
			t.Errorf("object %d is %s, not %s", i, key, want)
		}
	}
	second := list(t, s.Store, ConfigMaps, store.ListOptions{Query: o.Query, Limit: size, Continue: first.Continue})
	if second.Remaining == nil || *second.Remaining != objects-2*size {
		t.Errorf("after the second page %v remain", second.Remaining)
	}
}

func pagesQuiet(t *testing.T, s *Subject) {
	ns := space(t.Name())
	fill(t, s.Store, ns, 9)
	for _, size := range []int64{1, 2, 3, 4, 8, 9, 10} {
		keys, _ := walk(t, s.Store, store.ListOptions{Query: store.Query{Namespace: ns}, Limit: size, Fresh: true}, func(int) {})
		if len(keys) != 9 {
			t.Errorf("pages of %d have %v", size, keys)
		}
	}
}

func pagesSelected(t *testing.T, s *Subject) {
	ns := space(t.Name())
	fill(t, s.Store, ns, 30)
	o := store.ListOptions{
		Query: store.Query{Namespace: ns, Labels: labels.SelectorFromSet(labels.Set{"mod3": "1"})}, Limit: 3, Fresh: true,
	}
	if l := list(t, s.Store, ConfigMaps, o); l.Remaining != nil {
		t.Errorf("with a selector %d are said to remain", *l.Remaining)
	}
	for name, disturb := range map[string]func(int){
		"quiet":   func(int) {},
		"writing": func(page int) { setValue(t, s.Store, ns, "029", fmt.Sprint(page)) },
	} {
		if keys, _ := walk(t, s.Store, o, disturb); len(keys) != 10 {
			t.Errorf("%s: %v", name, keys)
		}
	}
}

func pagesBadTokens(t *testing.T, s *Subject) {
	ns := space(t.Name())
	fill(t, s.Store, ns, 3)
	q := store.Query{Namespace: ns}
	good := list(t, s.Store, ConfigMaps, store.ListOptions{Query: q, Limit: 1, Fresh: true}).Continue
	plain, err := base64.RawURLEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	swap := func(from, to string) string {
		changed := strings.Replace(string(plain), from, to, 1)
		if changed == string(plain) {
			t.Fatalf("a token has no %q: %s", from, plain)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(changed))
	}
	for name, token := range map[string]string{
		"not base64":        "!" + good,
		"cut":               good[:len(good)-3],
		"padded":            good + "==",
		"empty object":      base64.RawURLEncoding.EncodeToString([]byte("{}")),
		"not an object":     base64.RawURLEncoding.EncodeToString([]byte("7")),
		"other version":     swap(`"v":1`, `"v":2`),
		"revision 0":        swap(`"rv":`, `"rv":0,"x":`),
		"negative revision": swap(`"rv":`, `"rv":-7,"x":`),
		"no place":          swap(ns+"/000", ""),
		"another namespace": swap(ns+"/000", "other/000"),
		"up":                swap(ns+"/000", ns+"/../secrets/x/y"),
		"dots":              swap(ns+"/000", "../000"),
		"zero byte":         swap(ns+"/000", ns+`/000\u0000`),
		"huge":              base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("x", 10<<10))),
	} {
		if _, err := s.Store.List(testContext(t), ConfigMaps, store.ListOptions{Query: q, Limit: 1, Continue: token}); !apierrors.IsBadRequest(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// pagesStayInPlace takes a token of all namespaces into one: it must not lead out of it.
func pagesStayInPlace(t *testing.T, s *Subject) {
	a, b := space(t.Name())+"-a", space(t.Name())+"-b"
	fill(t, s.Store, a, 3)
	fill(t, s.Store, b, 3)
	var token string
	for o := (store.ListOptions{Limit: 1, Fresh: true}); ; {
		l := list(t, s.Store, ConfigMaps, o)
		if l.Entries[0].Key() == a+"/001" {
			token = l.Continue
			break
		}
		o = store.ListOptions{Limit: 1, Continue: l.Continue}
	}
	l := list(t, s.Store, ConfigMaps, store.ListOptions{Query: store.Query{Namespace: a}, Limit: 10, Continue: token})
	wantNames(t, l, a+"/002")
	_, err := s.Store.List(testContext(t), ConfigMaps, store.ListOptions{Query: store.Query{Namespace: b}, Continue: token})
	if !apierrors.IsBadRequest(err) {
		t.Errorf("the token led into another namespace: %v", err)
	}
}
