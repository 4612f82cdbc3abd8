package apptest

import (
	"context"
	"strconv"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
)

// resources are those that the cluster serves.
var resources = append(api.Resources(),
	api.ResourceInfo{GVR: corev1.SchemeGroupVersion.WithResource("namespaces"), GVK: corev1.SchemeGroupVersion.WithKind("Namespace")},
	api.ResourceInfo{GVR: corev1.SchemeGroupVersion.WithResource("pods"), GVK: corev1.SchemeGroupVersion.WithKind("Pod"), Namespaced: true},
	api.ResourceInfo{GVR: corev1.SchemeGroupVersion.WithResource("services"), GVK: corev1.SchemeGroupVersion.WithKind("Service"), Namespaced: true},
	api.ResourceInfo{GVR: appsv1.SchemeGroupVersion.WithResource("deployments"), GVK: appsv1.SchemeGroupVersion.WithKind("Deployment"), Namespaced: true},
)

// Informers are shared informers over a Store.
type Informers struct {
	store     *Store
	mu        sync.Mutex
	informers map[schema.GroupVersionResource]cache.SharedIndexInformer
}

// NewInformers makes informers over s. Run starts those that were asked for by then.
func NewInformers(s *Store) *Informers {
	return &Informers{store: s, informers: map[schema.GroupVersionResource]cache.SharedIndexInformer{}}
}

// Informer answers the resource's informer, the same one each time.
func (f *Informers) Informer(gvr schema.GroupVersionResource) cache.SharedIndexInformer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.informers[gvr] == nil {
		for _, r := range resources {
			if r.GVR == gvr {
				f.informers[gvr] = f.make(r)
			}
		}
	}
	return f.informers[gvr]
}

func (f *Informers) make(r api.ResourceInfo) cache.SharedIndexInformer {
	example, err := f.store.scheme.New(r.GVK)
	if err != nil {
		panic(err)
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) { return f.store.list(r) },
		WatchFuncWithContext: func(_ context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			return f.store.watch(r, opts.ResourceVersion), nil
		},
	}
	return cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, plainLists{}), example, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
}

// plainLists makes the informers list and then watch.
type plainLists struct{}

func (plainLists) IsWatchListSemanticsUnSupported() bool { return true }

// Resources lists what is served.
func (f *Informers) Resources() []api.ResourceInfo { return resources }

// Run runs the informers until ctx ends.
func (f *Informers) Run(ctx context.Context) {
	f.mu.Lock()
	var group sync.WaitGroup
	for _, informer := range f.informers {
		group.Go(func() { informer.RunWithContext(ctx) })
	}
	f.mu.Unlock()
	group.Wait()
}

func (s *Store) list(r api.ResourceInfo) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := s.scheme.New(r.GVK.GroupVersion().WithKind(r.GVK.Kind + "List"))
	if err != nil {
		return nil, err
	}
	var items []runtime.Object
	for k, obj := range s.objects {
		if k.resource == r.GVR.GroupResource() {
			items = append(items, clone(obj))
		}
	}
	if err := meta.SetList(list, items); err != nil {
		return nil, err
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	accessor.SetResourceVersion(strconv.FormatInt(s.revision, 10))
	return list, nil
}

// watch tells what comes; what came between the list and the watch is told again as it stands, which an informer
// takes for an update.
func (s *Store) watch(r api.ResourceInfo, from string) watch.Interface {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &watcher{resource: r.GVR.GroupResource(), events: watch.NewFakeWithChanSize(watchBuffer, false)}
	since, _ := strconv.ParseInt(from, 10, 64)
	for k, obj := range s.objects {
		if rv, _ := strconv.ParseInt(obj.GetResourceVersion(), 10, 64); k.resource == w.resource && rv > since {
			w.events.Action(watch.Modified, clone(obj))
		}
	}
	s.watchers[w] = struct{}{}
	return &stopping{FakeWatcher: w.events, stop: func() { s.forget(w) }}
}

func (s *Store) forget(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
}

// stopping takes its watcher out of the store before it closes the channel that the store writes to.
type stopping struct {
	*watch.FakeWatcher
	stop func()
}

func (w *stopping) Stop() {
	w.stop()
	w.FakeWatcher.Stop()
}
