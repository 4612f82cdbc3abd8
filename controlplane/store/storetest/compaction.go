package storetest

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/store"
)

var compactionTests = []ownTest{
	{"WatchersGoOn", compactedWatch},
	{"PagesExpireWithATokenToGoOn", compactedPages},
	{"ExactListExpires", compactedExact},
}

func compactedWatch(t *testing.T, open Open) {
	subject := open(t, Options{Resources: Resources()})
	s := subject.Store
	from := freshRevision(t, s)
	ctx := testContext(t)
	idle := startWatch(t, s, ConfigMaps, store.Query{}, from)
	m := scramble(ctx, t, s, "a", 4, 50, 10)
	subject.Compact(t, freshRevision(t, s))
	more := scramble(ctx, t, s, "a", 4, 50, 10)
	end := freshRevision(t, s)
	m.writes = append(m.writes, more.writes...)
	want := m.events()
	equal(t, collectTo(t, ctx, idle, end), want)
	again := startWatch(t, s, ConfigMaps, store.Query{}, from) // the log reaches back further than etcd
	equal(t, collectTo(t, ctx, again, end), want)
}

func compactedPages(t *testing.T, open Open) {
	const objects, size = 10, 4
	subject := open(t, Options{Resources: Resources()})
	s := subject.Store
	fill(t, s, "a", objects)
	o := store.ListOptions{Query: store.Query{Namespace: "a"}, Limit: size, Fresh: true}
	first := list(t, s, ConfigMaps, o)
	remove(t, s, ConfigMaps, "a", "005")
	create(t, s, ConfigMaps, configMap("a", "006-new", "1"))
	subject.Compact(t, freshRevision(t, s))
	_, err := s.List(testContext(t), ConfigMaps, store.ListOptions{Query: o.Query, Limit: size, Continue: first.Continue})
	if !apierrors.IsResourceExpired(err) {
		t.Fatalf("a page of a compacted state: %v", err)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().ListMeta.Continue == "" {
		t.Fatalf("no token to go on with: %v", err)
	}
	keys, revision := walk(t, s, store.ListOptions{Query: o.Query, Limit: size, Continue: status.Status().ListMeta.Continue}, func(int) {})
	if want := "[a/004 a/006 a/006-new a/007 a/008 a/009]"; fmt.Sprint(keys) != want {
		t.Errorf("the rest, inconsistently, is %v, not %s", keys, want)
	}
	if revision <= first.Revision {
		t.Errorf("the rest is of %d, the first page of %d", revision, first.Revision)
	}
}

func compactedExact(t *testing.T, open Open) {
	subject := open(t, Options{Resources: Resources()})
	s := subject.Store
	old := revisionOf(t, create(t, s, ConfigMaps, configMap("a", "a", "1")))
	setValue(t, s, "a", "a", "2")
	at := freshRevision(t, s)
	subject.Compact(t, at)
	_, err := s.List(testContext(t), ConfigMaps, store.ListOptions{Revision: old, Exact: true})
	var status *apierrors.StatusError
	if !apierrors.IsResourceExpired(err) || !errors.As(err, &status) || status.Status().Reason != metav1.StatusReasonExpired {
		t.Errorf("got %v", err)
	}
	wantNames(t, list(t, s, ConfigMaps, store.ListOptions{Revision: at, Exact: true}), "a/a")
}
