package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/petrelrun/petrel/worker/service/feed"
	"github.com/petrelrun/petrel/worker/service/feed/feedtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger is a reader that notes what it is told.
type ledger struct {
	mu    sync.Mutex
	lines []string
}

func (l *ledger) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *ledger) Set(svc *corev1.Service, all []*discoveryv1.EndpointSlice) {
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	l.add(svc.Name + "[" + strings.Join(names, " ") + "]")
}

func (l *ledger) Gone(k types.NamespacedName) { l.add("-" + k.Name) }

func (l *ledger) Settled(known func(types.NamespacedName) bool) {
	l.add(fmt.Sprintf("settled a=%v x=%v", known(key("a").NamespacedName), known(key("x").NamespacedName)))
}

func (l *ledger) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := strings.Join(l.lines, " ")
	l.lines = nil
	return out
}

func (l *ledger) want(t *testing.T, want string) {
	t.Helper()
	if got := l.take(); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

func key(name string) feed.Key {
	return feed.Key{NamespacedName: types.NamespacedName{Namespace: "default", Name: name}, UID: types.UID("uid-" + name)}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}
}

func service(name string) *corev1.Service { return &corev1.Service{ObjectMeta: meta(name)} }

func slice(owner, name string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: meta(name), AddressType: discoveryv1.AddressTypeIPv4}
	if owner != "" {
		s.Labels = map[string]string{discoveryv1.LabelServiceName: owner}
	}
	return s
}

func TestReadersAreToldOnlyTheWholeTruth(t *testing.T) {
	c, l := New(nil), &ledger{}
	c.Join(l)
	c.Slices().Set(slice("a", "1"))
	c.Services().Set(service("x"))
	c.Services().Gone(key("x"))
	c.Services().Set(service("a"))
	c.Services().Synced()
	l.want(t, "")
	c.Slices().Synced()
	l.want(t, "a[1] settled a=true x=false")
	c.Services().Synced() // once more, after the API was away
	l.want(t, "")

	late := &ledger{}
	c.Join(late)
	late.want(t, "a[1] settled a=true x=false")
	c.Retell(l)
	l.want(t, "a[1] settled a=true x=false")
	late.want(t, "")
}

func TestSlicesBelongToTheirService(t *testing.T) {
	c, l := New(nil), &ledger{}
	c.Services().Set(service("a"))
	c.Services().Synced()
	c.Slices().Synced()
	c.Join(l)
	l.want(t, "a[] settled a=true x=false")
	c.Slices().Set(slice("a", "1"))
	c.Slices().Set(slice("a", "2"))
	c.Slices().Set(slice("", "nobodys"))
	l.want(t, "a[1] a[1 2]")
	c.Slices().Set(slice("b", "2")) // goes over to a Service that is not there yet
	l.want(t, "a[1]")
	c.Services().Set(service("b"))
	l.want(t, "b[2]")
	c.Slices().Set(slice("", "2")) // and to none
	l.want(t, "b[]")
	c.Services().Gone(feed.Key{NamespacedName: key("a").NamespacedName, UID: "an older one"})
	l.want(t, "")
	c.Services().Gone(key("a"))
	c.Services().Gone(key("a"))
	l.want(t, "-a")
	c.Slices().Gone(key("1"))
	c.Slices().Gone(key("1"))
	l.want(t, "")
	if len(c.slices) != 0 || len(c.owners) != 0 {
		t.Errorf("left behind: %v %v", c.slices, c.owners)
	}
}

func TestRunFollowsTheAPI(t *testing.T) {
	client := fake.NewClientset(service("a"), slice("a", "1"))
	feedtest.CopyWatches(client)
	c, l := New(client), &ledger{}
	c.Join(l)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	await(t, l, "a[1] settled a=true x=false")
	if err := client.DiscoveryV1().EndpointSlices("default").Delete(ctx, "1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, l, "a[]")
	if err := client.CoreV1().Services("default").Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, l, "-a")
}

func await(t *testing.T, l *ledger, want string) {
	t.Helper()
	told := ""
	for range 6000 {
		if told += l.take(); told == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("told %q, want %q", told, want)
}
