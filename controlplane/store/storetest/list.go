package storetest

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/petrelrun/petrel/controlplane/store"
)

var listTests = []test{
	{"KeyOrder", listOrder},
	{"Selectors", listSelectors},
	{"ClusterScoped", listCluster},
	{"Fresh", listFresh},
	{"NotOlderThan", listNotOlder},
	{"Exact", listExact},
	{"Refuses", listRefuses},
}

// names are the keys of a list, in its order.
func names(l *store.List) []string {
	var out []string
	for _, e := range l.Entries {
		out = append(out, e.Key())
	}
	return out
}

func list(t testing.TB, s store.Interface, r *store.Resource, o store.ListOptions) *store.List {
	t.Helper()
	l, err := s.List(testContext(t), r, o)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return l
}

func wantNames(t testing.TB, l *store.List, want ...string) {
	t.Helper()
	if got := names(l); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, not %v", got, want)
	}
}

func listOrder(t *testing.T, s *Subject) {
	ns := space(t.Name())
	for _, place := range [][2]string{{ns + "-b", "a"}, {ns, "b"}, {ns, "a.x"}, {ns, "a-x"}, {ns, "a"}, {ns + "b", "a"}} {
		create(t, s.Store, ConfigMaps, configMap(place[0], place[1], ""))
	}
	l := list(t, s.Store, ConfigMaps, store.ListOptions{Query: store.Query{Namespace: ns}, Fresh: true})
	wantNames(t, l, ns+"/a", ns+"/a-x", ns+"/a.x", ns+"/b")
	if l.Continue != "" || l.Remaining != nil {
		t.Errorf("a whole list goes on: %q, %v", l.Continue, l.Remaining)
	}
	all := names(list(t, s.Store, ConfigMaps, store.ListOptions{Fresh: true}))
	for i := 1; i < len(all); i++ {
		if all[i-1] >= all[i] {
			t.Errorf("%q comes before %q", all[i-1], all[i])
		}
	}
}

func listSelectors(t *testing.T, s *Subject) {
	ns := space(t.Name())
	for i, node := range []string{"n1", "n2", "n1", ""} {
		p := pod(ns, fmt.Sprintf("p%d", i), node)
		p.Labels = map[string]string{"odd": fmt.Sprint(i % 2)}
		create(t, s.Store, Pods, p)
	}
	for _, c := range []struct {
		query store.Query
		want  []string
	}{
		{store.Query{Namespace: ns, Fields: fields.ParseSelectorOrDie("spec.nodeName=n1")}, []string{"p0", "p2"}},
		{store.Query{Namespace: ns, Fields: fields.ParseSelectorOrDie("spec.nodeName!=n1")}, []string{"p1", "p3"}},
		{store.Query{Namespace: ns, Labels: labels.SelectorFromSet(labels.Set{"odd": "1"})}, []string{"p1", "p3"}},
		{store.Query{
			Namespace: ns, Labels: labels.SelectorFromSet(labels.Set{"odd": "1"}),
			Fields: fields.ParseSelectorOrDie("spec.nodeName=n2"),
		}, []string{"p1"}},
		{store.Query{Namespace: ns, Name: "p2"}, []string{"p2"}},
		{store.Query{Namespace: ns, Fields: fields.ParseSelectorOrDie("metadata.name=p2")}, []string{"p2"}},
		{store.Query{Fields: fields.ParseSelectorOrDie("metadata.namespace=" + ns + ",metadata.name!=p2")}, []string{"p0", "p1", "p3"}},
		{store.Query{Namespace: ns, Name: "p2", Fields: fields.ParseSelectorOrDie("metadata.name=p1")}, nil},
		{store.Query{Namespace: ns, Name: "p9"}, nil},
		{store.Query{Namespace: ns, Labels: labels.Everything(), Fields: fields.Everything()}, []string{"p0", "p1", "p2", "p3"}},
		{store.Query{Namespace: ns, Labels: labels.Nothing()}, nil},
		{store.Query{Namespace: "../" + ns}, nil},
	} {
		var want []string
		for _, name := range c.want {
			want = append(want, ns+"/"+name)
		}
		wantNames(t, list(t, s.Store, Pods, store.ListOptions{Query: c.query, Fresh: true}), want...)
	}
}

func listCluster(t *testing.T, s *Subject) {
	name := space(t.Name())
	create(t, s.Store, Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	wantNames(t, list(t, s.Store, Nodes, store.ListOptions{Query: store.Query{Name: name}, Fresh: true}), name)
}

func listFresh(t *testing.T, s *Subject) {
	ns := space(t.Name())
	for i := range 100 {
		revision := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, fmt.Sprintf("%03d", i), "")))
		l := list(t, s.Store, ConfigMaps, store.ListOptions{Query: store.Query{Namespace: ns}, Fresh: true})
		if len(l.Entries) != i+1 || l.Revision < revision {
			t.Fatalf("after %d creates, the last at %d, a fresh list has %d at %d", i+1, revision, len(l.Entries), l.Revision)
		}
	}
}

func listNotOlder(t *testing.T, s *Subject) {
	ns := space(t.Name())
	for i := range 100 {
		revision := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, fmt.Sprintf("%03d", i), "")))
		l := list(t, s.Store, ConfigMaps, store.ListOptions{Query: store.Query{Namespace: ns}, Revision: revision})
		if len(l.Entries) != i+1 || l.Revision < revision {
			t.Fatalf("asked for %d, got %d objects of %d at %d", revision, len(l.Entries), i+1, l.Revision)
		}
	}
}

func listExact(t *testing.T, s *Subject) {
	ns := space(t.Name())
	q := store.Query{Namespace: ns}
	one := revisionOf(t, create(t, s.Store, ConfigMaps, configMap(ns, "a", "1")))
	two := revisionOf(t, create(t, s.Store, ConfigMaps, labelled(configMap(ns, "b", "1"), "app", "web")))
	three := revisionOf(t, setValue(t, s.Store, ns, "a", "2"))
	four := revisionOf(t, remove(t, s.Store, ConfigMaps, ns, "b"))
	for _, c := range []struct {
		revision int64
		want     string
	}{{one - 1, ""}, {one, "a=1 "}, {two, "a=1 b=1 "}, {three, "a=2 b=1 "}, {four, "a=2 "}} {
		l := list(t, s.Store, ConfigMaps, store.ListOptions{Query: q, Revision: c.revision, Exact: true})
		got := ""
		for _, e := range l.Entries {
			if e.Revision > c.revision {
				t.Errorf("the state at %d holds %s at %d", c.revision, e.Key(), e.Revision)
			}
			got += e.Name + "=" + e.Object().(*corev1.ConfigMap).Data["value"] + " "
		}
		if got != c.want || l.Revision != c.revision {
			t.Errorf("the state at %d is %q at %d, not %q", c.revision, got, l.Revision, c.want)
		}
	}
	q.Labels = labels.SelectorFromSet(labels.Set{"app": "web"})
	wantNames(t, list(t, s.Store, ConfigMaps, store.ListOptions{Query: q, Revision: three, Exact: true}), ns+"/b")
	wantNames(t, list(t, s.Store, ConfigMaps, store.ListOptions{Query: store.Query{Namespace: ns, Name: "b"}, Revision: three, Exact: true}), ns+"/b")
}

func listRefuses(t *testing.T, s *Subject) {
	ctx := testContext(t)
	for name, o := range map[string]store.ListOptions{
		"negative limit":         {Limit: -1},
		"negative revision":      {Revision: -1},
		"exactly nothing":        {Exact: true},
		"token and revision":     {Continue: "x", Revision: 1},
		"token and exact":        {Continue: "x", Exact: true},
		"a token that is no one": {Continue: "x"},
	} {
		if _, err := s.Store.List(ctx, ConfigMaps, o); !apierrors.IsBadRequest(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
