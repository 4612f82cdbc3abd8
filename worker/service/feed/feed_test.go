package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// The fake API's watches lose a goroutine when they are stopped with an event on its way; a real one's do not.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"))
}

func configMap(name, uid string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid), ManagedFields: []metav1.ManagedFieldsEntry{{}}}}
}

// story notes what a handler is told.
type story struct {
	mu    sync.Mutex
	lines []string
}

func (s *story) add(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *story) wait(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		got = slices.Clone(s.lines)
		s.mu.Unlock()
		if slices.Equal(got, want) {
			s.mu.Lock()
			s.lines = nil
			s.mu.Unlock()
			return
		}
	}
	t.Fatalf("told %q, want %q", got, want)
}

func (s *story) handler() Handler[*corev1.ConfigMap] {
	return Handler[*corev1.ConfigMap]{
		Set: func(c *corev1.ConfigMap) {
			if c.ManagedFields != nil {
				s.add("managed fields of %s were kept", c.Name)
			}
			s.add("set %s/%s", c.Name, c.UID)
		},
		Gone:   func(k Key) { s.add("gone %s/%s", k.Name, k.UID) },
		Synced: func() { s.add("synced") },
	}
}

func TestFollowsAnAPIThatComesLate(t *testing.T) {
	client := fake.NewClientset(configMap("a", "1"))
	var away atomic.Bool
	away.Store(true)
	client.PrependReactor("list", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return away.Load(), nil, errors.New("connection refused")
	})
	s := &story{}
	f := New(client, client.CoreV1().ConfigMaps(""), &corev1.ConfigMap{}, "", s.handler())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	defer running.Wait()
	defer cancel()
	time.Sleep(300 * time.Millisecond)
	if f.Synced() {
		t.Error("synced without an answer")
	}
	away.Store(false)
	s.wait(t, "set a/1", "synced")
	if !f.Synced() {
		t.Error("not synced")
	}
	maps := client.CoreV1().ConfigMaps("ns")
	if _, err := maps.Create(ctx, configMap("b", "2"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "set b/2")
	if err := maps.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "gone a/1")
}

func TestReplaceTellsWhatVanished(t *testing.T) {
	s := &story{}
	st := &store[*corev1.ConfigMap]{handler: s.handler(), known: map[types.NamespacedName]types.UID{}}
	_ = st.Replace([]any{configMap("a", "1"), configMap("b", "2")}, "")
	s.wait(t, "set a/1", "set b/2", "synced")
	_ = st.Replace([]any{configMap("b", "3")}, "")
	s.mu.Lock()
	slices.Sort(s.lines[:2])
	s.mu.Unlock()
	s.wait(t, "gone a/1", "gone b/2", "set b/3", "synced")
	_ = st.Update(configMap("b", "4"))
	s.wait(t, "gone b/3", "set b/4")
	if err := st.Add(&corev1.Secret{}); err == nil || !strings.Contains(err.Error(), "Secret") {
		t.Errorf("a foreign object: %v", err)
	}
}
