package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/petrelrun/petrel/bench/stats"
	"github.com/petrelrun/petrel/bench/table"
	"github.com/petrelrun/petrel/test/cluster"
)

const (
	apiRounds  = 5
	apiObjects = 2000 // a round
	apiCallers = 16
	apiPayload = 1024 // bytes of each object's data, the size that etcd's own benchmarks use
	apiLists   = 10   // a round
	watchers   = 20
)

func apiRows() []row {
	const client = " The client, client-go over loopback HTTP and in protobuf, is on the same cores."
	return []row{
		{
			name: "api/create", direction: table.AtLeast, bar: 0.15, measure: apiCreate,
			what: "ConfigMaps of 1 KiB created per second by 16 callers, divided by guarded transactions per second of a bare etcd on as many bytes.\n" +
				"HTTP, decoding, defaults, validation and managed fields come on top of the transaction; a throw-away server reached 0.13 with\n" +
				"pods." + client,
		},
		{
			name: "api/get", direction: table.AtLeast, bar: 0.25, measure: apiGet,
			what: "ConfigMaps read per second by 16 callers, divided by linearizable reads per second of a bare etcd in process. Most of what the API\n" +
				"adds is HTTP." + client,
		},
		{
			name: "api/list", direction: table.AtLeast, bar: 0.25, measure: apiList,
			what: "Objects per second in lists of 2,000 ConfigMaps, decoded by the client, divided by keys per second that a bare etcd gives in ranges\n" +
				"of 2,000, which nobody decodes." + client,
		},
		{
			name: "api/watch-fanout", direction: table.AtLeast, bar: 1.5, measure: apiWatch,
			what: "Events per second that 20 watchers together receive and decode while 16 callers create, divided by a bare etcd's transactions per\n" +
				"second. A throw-away server reached 1.6." + client,
		},
	}
}

// apiBench is an API and a bare etcd side by side.
type apiBench struct {
	ctx    context.Context
	client kubernetes.Interface
	etcd   *bareEtcd
	round  int // names of every round are new
}

// withAPI starts both.
func (l *lab) withAPI(ctx context.Context, fn func(*apiBench) error) error {
	dir, err := l.folder()
	if err != nil {
		return err
	}
	etcd, err := startEtcd(ctx, dir)
	if err != nil {
		return err
	}
	defer etcd.close()
	return l.withCluster(ctx, nil, func(c *cluster.Cluster) error {
		client, err := kubernetes.NewForConfig(&rest.Config{
			Host: c.State.API, QPS: -1, UserAgent: "petrel-bench",
			ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf},
		})
		if err != nil {
			return err
		}
		return fn(&apiBench{ctx: ctx, client: client, etcd: etcd})
	})
}

func (b *apiBench) names() func(i int) string {
	b.round++
	round := b.round
	return func(i int) string { return fmt.Sprintf("bench-%d-%06d", round, i) }
}

// create answers creations per second through the API.
func (b *apiBench) create() (float64, error) {
	name := b.names()
	data := map[string]string{"payload": strings.Repeat("x", apiPayload)}
	return each(b.ctx, apiObjects, apiCallers, func(i int) error {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name(i)}, Data: data}
		_, err := b.client.CoreV1().ConfigMaps("default").Create(b.ctx, object, metav1.CreateOptions{})
		return err
	})
}

// transact answers guarded transactions per second of the bare etcd.
func (b *apiBench) transact() (float64, error) {
	name := b.names()
	value := []byte(strings.Repeat("x", apiPayload))
	return each(b.ctx, apiObjects, apiCallers, func(i int) error {
		return b.etcd.create(b.ctx, "/registry/configmaps/default/"+name(i), value)
	})
}

func apiCreate(ctx context.Context, l *lab) (m measurement, err error) {
	err = l.withAPI(ctx, func(b *apiBench) error {
		p, err := stats.Pair(apiRounds, b.create, b.transact)
		m, err = paired(p, err, "creations through the API", "bare etcd transactions", "per s")
		return err
	})
	return m, err
}

func apiGet(ctx context.Context, l *lab) (m measurement, err error) {
	err = l.withAPI(ctx, func(b *apiBench) error {
		if err := b.fill(); err != nil {
			return err
		}
		get := func() (float64, error) {
			return each(ctx, apiObjects, apiCallers, func(i int) error {
				_, err := b.client.CoreV1().ConfigMaps("default").Get(ctx, fmt.Sprintf("bench-1-%06d", i), metav1.GetOptions{})
				return err
			})
		}
		read := func() (float64, error) {
			return each(ctx, apiObjects, apiCallers, func(i int) error {
				res, err := b.etcd.client.Get(ctx, fmt.Sprintf("/registry/configmaps/default/bench-2-%06d", i))
				if err == nil && len(res.Kvs) != 1 {
					err = fmt.Errorf("%d keys", len(res.Kvs))
				}
				return err
			})
		}
		p, err := stats.Pair(apiRounds, get, read)
		m, err = paired(p, err, "reads through the API", "bare etcd reads", "per s")
		return err
	})
	return m, err
}

// fill makes the objects of reads: round 1 in the API, round 2 in the bare etcd.
func (b *apiBench) fill() error {
	if _, err := b.create(); err != nil {
		return err
	}
	_, err := b.transact()
	return err
}

func apiList(ctx context.Context, l *lab) (m measurement, err error) {
	err = l.withAPI(ctx, func(b *apiBench) error {
		if err := b.fill(); err != nil {
			return err
		}
		list := func() (float64, error) {
			rate, err := each(ctx, apiLists, 1, func(int) error {
				found, err := b.client.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
				if err == nil && len(found.Items) < apiObjects {
					err = fmt.Errorf("%d objects, want %d", len(found.Items), apiObjects)
				}
				return err
			})
			return rate * apiObjects, err
		}
		ranges := func() (float64, error) {
			rate, err := each(ctx, apiLists, 1, func(int) error {
				res, err := b.etcd.client.Get(ctx, "/registry/configmaps/default/", clientv3.WithPrefix())
				if err == nil && len(res.Kvs) != apiObjects {
					err = fmt.Errorf("%d keys, want %d", len(res.Kvs), apiObjects)
				}
				return err
			})
			return rate * apiObjects, err
		}
		p, err := stats.Pair(apiRounds, list, ranges)
		m, err = paired(p, err, "objects in lists of the API", "keys in ranges of a bare etcd", "per s")
		return err
	})
	return m, err
}

func apiWatch(ctx context.Context, l *lab) (m measurement, err error) {
	err = l.withAPI(ctx, func(b *apiBench) error {
		p, err := stats.Pair(apiRounds, b.fanOut, b.transact)
		m, err = paired(p, err, fmt.Sprintf("events to %d watchers", watchers), "bare etcd transactions", "per s")
		return err
	})
	return m, err
}

// fanOut creates objects under the eyes of the watchers and answers events per second until the last has the last.
func (b *apiBench) fanOut() (float64, error) {
	ctx, cancel := context.WithTimeout(b.ctx, settleLimit)
	defer cancel()
	list, err := b.client.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	errs := make(chan error, watchers)
	for range watchers {
		w, err := b.client.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if err != nil {
			return 0, err
		}
		wg.Go(func() {
			defer w.Stop()
			errs <- receive(ctx, w, apiObjects)
		})
	}
	began := time.Now()
	_, err = b.create()
	wg.Wait()
	seconds := time.Since(began).Seconds()
	for range watchers {
		if e := <-errs; err == nil {
			err = e
		}
	}
	return watchers * apiObjects / seconds, err
}

// receive reads creations until it has so many.
func receive(ctx context.Context, w watch.Interface, n int) error {
	for got := 0; got < n; {
		select {
		case event, open := <-w.ResultChan():
			switch {
			case !open:
				return fmt.Errorf("a watch was cut after %d of %d events", got, n)
			case event.Type == watch.Added:
				got++
			case event.Type == watch.Error:
				return fmt.Errorf("a watch failed after %d of %d events: %v", got, n, event.Object)
			}
		case <-ctx.Done():
			return fmt.Errorf("a watch had %d of %d events: %w", got, n, ctx.Err())
		}
	}
	return nil
}
