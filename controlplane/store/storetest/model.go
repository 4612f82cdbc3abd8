package storetest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/petrelrun/petrel/controlplane/store"
)

func equal(t testing.TB, got, want []seen) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("event %d of %d is missing: %v", i, len(want), want[i])
		case i >= len(want):
			t.Fatalf("event %d is one too many: %v", i, got[i])
		case got[i] != want[i]:
			t.Fatalf("event %d is %v, not %v", i, got[i], want[i])
		}
	}
}

// model records writes that were acknowledged, and tells what a watcher must see of them.
type model struct {
	mu     sync.Mutex
	writes []seen // the type is Added (whatever it was before) or Deleted
}

func (m *model) record(kind watch.EventType, key, value string, obj runtime.Object) error {
	revision, err := parseRevision(obj)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes = append(m.writes, seen{kind, key, value, revision})
	return err
}

// events is what leads from nothing to the last write, in order.
func (m *model) events() []seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	events := slices.Clone(m.writes)
	slices.SortFunc(events, func(a, b seen) int { return cmp.Compare(a.Revision, b.Revision) })
	there := map[string]string{}
	for i, e := range events {
		value, was := there[e.Key]
		switch {
		case e.Type == watch.Deleted:
			events[i].Value = value
			delete(there, e.Key)
			continue
		case was:
			events[i].Type = watch.Modified
		}
		there[e.Key] = e.Value
	}
	return events
}

// after cuts off what a watcher who starts at a revision does not see.
func after(events []seen, revision int64) []seen {
	i, _ := slices.BinarySearchFunc(events, revision+1, func(e seen, r int64) int { return cmp.Compare(e.Revision, r) })
	return events[i:]
}

// values makes each value that is written another one, so that each write is a change.
var values atomic.Int64

// scramble lets writers create, change and remove a few keys at random, all at once, and records what they did.
// All writes of one key are one writer's or lose cleanly, so the record is complete.
func scramble(ctx context.Context, t testing.TB, s store.Interface, namespace string, writers, each, keys int) *model {
	m := &model{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 7))
			for range each {
				name := fmt.Sprintf("k%02d", random.IntN(keys))
				value := strconv.FormatInt(values.Add(1), 10)
				if err := scrambleOne(ctx, s, m, namespace, name, value, random.IntN(10)); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return m
}

func scrambleOne(ctx context.Context, s store.Interface, m *model, namespace, name, value string, dice int) error {
	key := namespace + "/" + name
	if dice < 2 {
		out, _, err := s.Update(ctx, ConfigMaps, namespace, name, store.Preconditions{}, removeNow)
		if err == nil {
			return m.record(watch.Deleted, key, "", out)
		}
		return ignoring(err, apierrors.IsNotFound, apierrors.IsConflict)
	}
	out, _, err := s.Update(ctx, ConfigMaps, namespace, name, store.Preconditions{}, put(func(cm *corev1.ConfigMap) {
		cm.Data = map[string]string{"value": value}
	}))
	if apierrors.IsNotFound(err) {
		out, err = s.Create(ctx, ConfigMaps, configMap(namespace, name, value))
	}
	if err == nil {
		return m.record(watch.Added, key, value, out)
	}
	return ignoring(err, apierrors.IsAlreadyExists, apierrors.IsConflict)
}

func ignoring(err error, which ...func(error) bool) error {
	for _, is := range which {
		if is(err) {
			return nil
		}
	}
	return err
}
