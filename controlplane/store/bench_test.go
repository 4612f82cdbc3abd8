package store_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/petrelrun/petrel/controlplane/store"
	"github.com/petrelrun/petrel/controlplane/store/storetest"
)

// Each benchmark does the same through the store and, in the same run over the same etcd, with etcd's client alone.
// It reports the store's time, and as "ofraw" the share of raw etcd's throughput that the store reaches.

// benchPod takes about 1.2 KB, as a small real one does.
func benchPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: name, Labels: map[string]string{"app": "bench"}},
		Spec: corev1.PodSpec{
			NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "E", Value: strings.Repeat("x", 1100)}}}},
		},
	}
}

// together runs n operations by so many workers and answers how long it took.
func together(b *testing.B, workers, n int, op func(i int) error) time.Duration {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := op(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begin)
}

// compare measures the store's operation and the raw one by turns, so that both see the same machine and the same
// growing database.
func compare(b *testing.B, workers int, ours, raw func(i int) error) {
	b.Helper()
	const turns = 8
	const enough = 1000 // raw operations a turn, where the store is so much faster that the same number would take minutes
	var oursTook, rawTook time.Duration
	rawDone := 0
	b.ResetTimer()
	for turn := range turns {
		from, to := b.N*turn/turns, b.N*(turn+1)/turns
		oursTook += together(b, workers, to-from, func(i int) error { return ours(from + i) })
		b.StopTimer()
		rawTurn := min(to-from, enough)
		rawTook += together(b, workers, rawTurn, func(i int) error { return raw(from + i) })
		rawDone += rawTurn
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/oursTook.Seconds(), "ops/s")
	b.ReportMetric(rawTook.Seconds()/float64(rawDone)/(oursTook.Seconds()/float64(b.N)), "ofraw")
}

func eachWorkers(b *testing.B, run func(b *testing.B, workers int)) {
	for _, workers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) { run(b, workers) })
	}
}

func rawValue(b *testing.B) string {
	value, err := benchPod("x").Marshal()
	if err != nil {
		b.Fatal(err)
	}
	return string(value)
}

func BenchmarkCreate(b *testing.B) {
	eachWorkers(b, func(b *testing.B, workers int) {
		s := start(b, store.Config{Dir: b.TempDir()})
		etcd, ctx, value := s.Etcd(), context.Background(), rawValue(b)
		compare(b, workers, func(i int) error {
			_, err := s.Create(ctx, storetest.Pods, benchPod(fmt.Sprint("p", i)))
			return err
		}, func(i int) error {
			key := fmt.Sprint("/raw/p", i)
			_, err := etcd.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(clientv3.OpPut(key, value)).Commit()
			return err
		})
	})
}

func BenchmarkUpdate(b *testing.B) {
	const objects = 1000
	eachWorkers(b, func(b *testing.B, workers int) {
		s := start(b, store.Config{Dir: b.TempDir()})
		etcd, ctx, value := s.Etcd(), context.Background(), rawValue(b)
		for i := range objects {
			if _, err := s.Create(ctx, storetest.Pods, benchPod(fmt.Sprint("p", i))); err != nil {
				b.Fatal(err)
			}
		}
		compare(b, workers, func(i int) error {
			_, _, err := s.Update(ctx, storetest.Pods, "bench", fmt.Sprint("p", i%objects), store.Preconditions{},
				func(o runtime.Object) (runtime.Object, store.Verdict, error) {
					o.(*corev1.Pod).Status.Message = fmt.Sprint(i)
					return o, store.Put, nil
				})
			return err
		}, func(i int) error {
			key := fmt.Sprint("/raw/p", i%objects)
			got, err := etcd.Get(ctx, key)
			if err != nil {
				return err
			}
			revision := int64(0)
			if len(got.Kvs) > 0 {
				revision = got.Kvs[0].ModRevision
			}
			_, err = etcd.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).Then(clientv3.OpPut(key, value+fmt.Sprint(i))).Commit()
			return err
		})
	})
}

// BenchmarkGetFresh reads linearizably, decoded object included; raw etcd answers bytes.
func BenchmarkGetFresh(b *testing.B) {
	eachWorkers(b, func(b *testing.B, workers int) {
		s := start(b, store.Config{Dir: b.TempDir()})
		etcd, ctx := s.Etcd(), context.Background()
		if _, err := s.Create(ctx, storetest.Pods, benchPod("p")); err != nil {
			b.Fatal(err)
		}
		compare(b, workers, func(int) error {
			e, err := s.Get(ctx, storetest.Pods, "bench", "p", true)
			if err == nil && e.Object() == nil {
				b.Error("nothing")
			}
			return err
		}, func(int) error {
			_, err := etcd.Get(ctx, "/registry/core/pods/bench/p")
			return err
		})
	})
}

// BenchmarkList lists 2,000 objects linearizably; raw etcd answers bytes.
func BenchmarkList(b *testing.B) {
	s := start(b, store.Config{Dir: b.TempDir()})
	etcd, ctx := s.Etcd(), context.Background()
	together(b, 64, 2000, func(i int) error {
		_, err := s.Create(ctx, storetest.Pods, benchPod(fmt.Sprintf("p%04d", i)))
		return err
	})
	compare(b, 1, func(int) error {
		l, err := s.List(ctx, storetest.Pods, store.ListOptions{Fresh: true})
		if err == nil && len(l.Entries) != 2000 {
			err = fmt.Errorf("%d entries", len(l.Entries))
		}
		return err
	}, func(int) error {
		_, err := etcd.Get(ctx, "/registry/core/pods/", clientv3.WithPrefix())
		return err
	})
}

// BenchmarkWatch is the time of one write until all of so many watchers have seen it; every tenth selects by a field.
// Raw etcd has one watch only: what is compared is the price of the many.
func BenchmarkWatch(b *testing.B) {
	for _, watchers := range []int{1, 20, 1000} {
		b.Run(fmt.Sprint(watchers), func(b *testing.B) { benchWatch(b, watchers) })
	}
}

func benchWatch(b *testing.B, watchers int) {
	s := start(b, store.Config{Dir: b.TempDir()})
	ctx, cancel := context.WithCancel(context.Background())
	var ends sync.WaitGroup
	defer ends.Wait()
	defer cancel()
	var ours, raw sync.WaitGroup // events that are still to be seen
	for i := range watchers {
		q := store.Query{Namespace: "bench"}
		if i%10 == 0 {
			q.Fields = fields.OneTermEqualSelector("spec.nodeName", "n1")
		}
		w, err := s.Watch(ctx, storetest.Pods, q, s.Revision())
		if err != nil {
			b.Fatal(err)
		}
		ends.Go(func() {
			for {
				events, err := w.Next(ctx)
				if err != nil {
					return
				}
				ours.Add(-len(events))
			}
		})
	}
	created := make(chan struct{})
	ends.Go(func() {
		for resp := range s.Etcd().Watch(ctx, "/raw/", clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
			if resp.Created {
				close(created)
			}
			raw.Add(-len(resp.Events))
		}
	})
	<-created
	value := rawValue(b)
	compare(b, 1, func(i int) error {
		ours.Add(watchers)
		_, err := s.Create(ctx, storetest.Pods, benchPod(fmt.Sprint("p", i)))
		ours.Wait()
		return err
	}, func(i int) error {
		raw.Add(1)
		_, err := s.Etcd().Put(ctx, fmt.Sprint("/raw/p", i), value)
		raw.Wait()
		return err
	})
}
