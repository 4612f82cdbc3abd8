package store_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/petrelrun/petrel/controlplane/store"
	"github.com/petrelrun/petrel/controlplane/store/storetest"
)

// link is a wire between a store and an external etcd that a test can cut.
type link struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	broken   bool
	conns    map[net.Conn]struct{}
	copiers  sync.WaitGroup
}

func newLink(t *testing.T, target string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{listener: l, target: target, conns: map[net.Conn]struct{}{}}
	k.copiers.Go(k.accept)
	t.Cleanup(func() {
		l.Close()
		k.cut()
		k.copiers.Wait()
	})
	return k
}

func (k *link) accept() {
	for {
		near, err := k.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", k.target)
		if err != nil || !k.join(near, far) {
			near.Close()
			if far != nil {
				far.Close()
			}
			continue
		}
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			k.copiers.Go(func() {
				io.Copy(pair[0], pair[1])
				near.Close()
				far.Close()
			})
		}
	}
}

func (k *link) join(conns ...net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range conns {
		k.conns[c] = struct{}{}
	}
	return !k.broken
}

func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken = true
	for c := range k.conns {
		c.Close()
		delete(k.conns, c)
	}
}

func (k *link) mend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken = false
}

// follower reads a watcher and keeps the state that its events lead to.
type follower struct {
	t        *testing.T
	w        store.Watcher
	values   map[string]string
	revision int64
	events   int
}

// to reads until a revision has been seen.
func (f *follower) to(ctx context.Context, revision int64) {
	f.t.Helper()
	for f.w.Revision() < revision {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		events, err := f.w.Next(short)
		late := short.Err() != nil
		cancel()
		if err != nil && (!late || ctx.Err() != nil) {
			f.t.Fatalf("at %d on the way to %d: %v", f.w.Revision(), revision, err)
		}
		for _, e := range events {
			f.apply(e)
		}
	}
}

func (f *follower) apply(e store.Event) {
	f.t.Helper()
	if e.Revision < f.revision {
		f.t.Fatalf("an event at %d comes after one at %d", e.Revision, f.revision)
	}
	f.revision = e.Revision
	f.events++
	if _, was := f.values[e.Entry.Name]; was == (e.Type == watch.Added) {
		f.t.Fatalf("%s %s at %d, which was there: %t", e.Type, e.Entry.Name, e.Revision, was)
	}
	if e.Type == watch.Deleted {
		delete(f.values, e.Entry.Name)
	} else {
		f.values[e.Entry.Name] = e.Entry.Object().(*corev1.ConfigMap).Data["value"]
	}
}

// churn makes writes of all kinds, the same each time but for the values, and answers the last revision.
func churn(t *testing.T, s store.Interface, round int) (last int64) {
	t.Helper()
	ctx := testContext(t)
	for i := range 60 {
		name := fmt.Sprintf("k%d", i*7%11)
		value := fmt.Sprintf("%d-%d", round, i)
		verdict := store.Put
		if i%4 == 3 {
			verdict = store.Remove
		}
		out, _, err := s.Update(ctx, storetest.ConfigMaps, "ns", name, store.Preconditions{},
			func(current runtime.Object) (runtime.Object, store.Verdict, error) {
				if verdict == store.Put {
					current.(*corev1.ConfigMap).Data = map[string]string{"value": value}
				}
				return current, verdict, nil
			})
		if apierrors.IsNotFound(err) {
			out, err = s.Create(ctx, storetest.ConfigMaps, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Data: map[string]string{"value": value},
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		if last, err = strconv.ParseInt(out.(*corev1.ConfigMap).ResourceVersion, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return last
}

// state is what a store lists.
func state(t *testing.T, s store.Interface) map[string]string {
	t.Helper()
	l, err := s.List(testContext(t), storetest.ConfigMaps, store.ListOptions{Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, e := range l.Entries {
		values[e.Name] = e.Object().(*corev1.ConfigMap).Data["value"]
	}
	return values
}

func (f *follower) holds(want map[string]string) {
	f.t.Helper()
	if fmt.Sprint(f.values) != fmt.Sprint(want) {
		f.t.Errorf("the events lead to %v, not to %v", f.values, want)
	}
}

func follow(t *testing.T, s store.Interface) *follower {
	t.Helper()
	w, err := s.Watch(testContext(t), storetest.ConfigMaps, store.Query{}, s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return &follower{t: t, w: w, values: map[string]string{}}
}

// TestCut cuts a store off from its etcd while another writes: once with the history kept, where the cut must not be
// noticed at all, once with the history compacted away, where watchers are told the difference.
func TestCut(t *testing.T) {
	t.Parallel()
	etcd := startEtcd(t)
	k := newLink(t, etcd.addr)
	near := start(t, store.Config{Endpoints: []string{k.listener.Addr().String()}})
	far := start(t, store.Config{Endpoints: []string{etcd.addr}})
	f, witness := follow(t, near), follow(t, far)
	ctx := testContext(t)
	churn(t, far, 0)
	for round, compacted := range []bool{false, true, false, true} {
		before := f.events
		f.to(ctx, far.Revision())
		k.cut()
		last := churn(t, far, round+1)
		if compacted {
			if err := far.Compact(ctx, last); err != nil {
				t.Fatal(err)
			}
		}
		if got := near.Revision(); got >= last {
			t.Fatalf("the link is not cut: the near store is at %d", got)
		}
		if _, err := near.Get(ctx, storetest.ConfigMaps, "ns", "k0", false); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("the cache does not serve while the link is cut: %v", err)
		}
		k.mend()
		f.to(ctx, last)
		f.holds(state(t, far))
		t.Logf("compacted %t: %d events for 60 writes", compacted, f.events-before)
	}
	witness.to(ctx, far.Revision())
	witness.holds(state(t, near))
}

// TestEtcdRestarts restarts the external etcd over its data: neither objects nor watches notice.
func TestEtcdRestarts(t *testing.T) {
	t.Parallel()
	etcd := startEtcd(t)
	k := newLink(t, etcd.addr)
	s := start(t, store.Config{Endpoints: []string{k.listener.Addr().String()}})
	f := follow(t, s)
	ctx := testContext(t)
	for round := range 2 {
		churn(t, s, round)
		k.cut() // an etcd that ends cleanly would wait for its clients to go
		etcd.stop()
		etcd.start(t)
		k.mend()
		f.to(ctx, churn(t, s, round+10))
		f.holds(state(t, s))
	}
	if f.events != 240 {
		t.Errorf("%d events for 240 writes", f.events)
	}
}

// TestEtcdReplaced puts another etcd in the place of the one there was, once with fewer revisions than that had, once
// with more: watchers are sent to list anew, and what they list is the new one's.
func TestEtcdReplaced(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ahead   int
		claimed bool
	}{"behind": {}, "ahead": {ahead: 200}, "another store's": {ahead: 200, claimed: true}} {
		t.Run(name, func(t *testing.T) { etcdReplaced(t, c.ahead, c.claimed) })
	}
}

func etcdReplaced(t *testing.T, ahead int, claimed bool) {
	etcd := startEtcd(t)
	k := newLink(t, etcd.addr)
	s := start(t, store.Config{Endpoints: []string{k.listener.Addr().String()}})
	churn(t, s, 0)
	f := follow(t, s)
	k.cut()
	etcd.stop()
	etcd.dir = t.TempDir()
	etcd.start(t)
	ctx := testContext(t)
	other := etcd.client(t)
	for i := range ahead {
		if _, err := other.Put(ctx, "/elsewhere", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if claimed {
		start(t, store.Config{Endpoints: []string{etcd.addr}})
	}
	k.mend()
	// A fresh read finds out; until it has, it says that it cannot be served.
	for {
		l, err := s.List(ctx, storetest.ConfigMaps, store.ListOptions{Fresh: true})
		if err == nil {
			if len(l.Entries) != 0 {
				t.Errorf("%d objects of the etcd that is gone are listed", len(l.Entries))
			}
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := f.w.Next(ctx); !apierrors.IsResourceExpired(err) {
		t.Errorf("a watcher of the etcd that is gone: %v", err)
	}
	f = follow(t, s)
	f.to(ctx, churn(t, s, 1))
	f.holds(state(t, s))
}

// TestProgress waits for a revision that another program's write made, outside of what is watched.
func TestProgress(t *testing.T) {
	t.Parallel()
	etcd := startEtcd(t)
	s := start(t, store.Config{Endpoints: []string{etcd.addr}})
	other := etcd.client(t)
	f := follow(t, s)
	for i := range 10 {
		resp, err := other.Put(testContext(t), "/elsewhere", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.List(testContext(t), storetest.ConfigMaps, store.ListOptions{Fresh: true})
		if err != nil {
			t.Fatal(err)
		}
		if l.Revision < resp.Header.Revision {
			t.Errorf("a fresh list is of %d, before the write at %d", l.Revision, resp.Header.Revision)
		}
		f.to(testContext(t), resp.Header.Revision)
	}
}
