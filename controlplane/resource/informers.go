package resource

import (
	"context"
	"errors"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/store"
)

// Informers are shared informers that read the store's watch cache itself. Their objects are those of the cache,
// decoded once for the whole process and never changed by anybody.
type Informers struct {
	registry *Registry
	mu       sync.Mutex
	made     map[schema.GroupVersionResource]cache.SharedIndexInformer
	pending  []cache.SharedIndexInformer
	ctx      context.Context // set while Run runs
	running  sync.WaitGroup
}

// NewInformers makes a set of informers; Run starts those that were asked for, also later.
func NewInformers(r *Registry) *Informers {
	return &Informers{registry: r, made: map[schema.GroupVersionResource]cache.SharedIndexInformer{}}
}

// Resources lists what there are informers for: every served, listable resource.
func (i *Informers) Resources() []api.ResourceInfo { return i.registry.Resources() }

// Informer answers the informer of a resource, the same one each time. It panics for a resource that is not served.
func (i *Informers) Informer(gvr schema.GroupVersionResource) cache.SharedIndexInformer {
	d := must(gvr)
	i.mu.Lock()
	defer i.mu.Unlock()
	if inf := i.made[gvr]; inf != nil {
		return inf
	}
	inf := cache.NewSharedIndexInformer(&listerWatcher{i.registry, d}, d.Rules.New(), 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	i.made[gvr] = inf
	i.pending = append(i.pending, inf)
	i.start()
	return inf
}

// start runs what has been made since; the caller holds mu.
func (i *Informers) start() {
	if i.ctx == nil {
		return
	}
	for _, inf := range i.pending {
		i.running.Go(func() { inf.RunWithContext(i.ctx) })
	}
	i.pending = nil
}

// Run runs the informers until ctx ends.
func (i *Informers) Run(ctx context.Context) error {
	i.mu.Lock()
	if i.ctx != nil {
		i.mu.Unlock()
		return errors.New("run informers: they run already")
	}
	i.ctx = ctx
	i.start()
	i.mu.Unlock()
	<-ctx.Done()
	i.running.Wait()
	return nil
}

// WaitForSync blocks until every informer that was asked for has its first list.
func (i *Informers) WaitForSync(ctx context.Context) error {
	i.mu.Lock()
	var synced []cache.InformerSynced
	for _, inf := range i.made {
		synced = append(synced, inf.HasSynced)
	}
	i.mu.Unlock()
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return context.Cause(ctx)
	}
	return nil
}

// listerWatcher reads one resource from the cache.
type listerWatcher struct {
	registry *Registry
	d        *Definition
}

// IsWatchListSemanticsUnSupported tells client-go to list and then watch: a list from this cache copies nothing but
// pointers, so a list that is streamed as events would only be slower.
func (l *listerWatcher) IsWatchListSemanticsUnSupported() bool { return true }

// List implements cache.Lister.
func (l *listerWatcher) List(metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), metav1.ListOptions{})
}

// ListWithContext implements cache.ListerWithContext.
func (l *listerWatcher) ListWithContext(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
	page, err := l.registry.List(ctx, l.d, store.ListOptions{Fresh: true})
	if err != nil {
		return nil, err
	}
	list := &objectList{Items: make([]runtime.Object, 0, len(page.Entries))}
	list.ResourceVersion = strconv.FormatInt(page.Revision, 10)
	for _, e := range page.Entries {
		list.Items = append(list.Items, e.Object())
	}
	return list, nil
}

// Watch implements cache.Watcher.
func (l *listerWatcher) Watch(opts metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), opts)
}

// WatchWithContext implements cache.WatcherWithContext.
func (l *listerWatcher) WatchWithContext(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	from, err := strconv.ParseInt(opts.ResourceVersion, 10, 64)
	if err != nil {
		return nil, apierrors.NewBadRequest("resourceVersion must be a number")
	}
	w, err := l.registry.Watch(ctx, l.d, store.Query{}, from)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{events: make(chan watch.Event), cancel: cancel}
	go s.run(ctx, w)
	return s, nil
}

// stream turns a store's watcher into client-go's channel.
type stream struct {
	events chan watch.Event
	cancel context.CancelFunc
}

// Stop implements watch.Interface.
func (s *stream) Stop() { s.cancel() }

// ResultChan implements watch.Interface.
func (s *stream) ResultChan() <-chan watch.Event { return s.events }

func (s *stream) run(ctx context.Context, w store.Watcher) {
	defer s.cancel()
	defer w.Stop()
	defer close(s.events)
	for {
		batch, err := w.Next(ctx)
		if err != nil {
			if status, ok := err.(apierrors.APIStatus); ok && ctx.Err() == nil {
				st := status.Status()
				s.send(ctx, watch.Event{Type: watch.Error, Object: &st})
			}
			return
		}
		for _, ev := range batch {
			if !s.send(ctx, watch.Event{Type: ev.Type, Object: ev.Entry.Object()}) {
				return
			}
		}
	}
}

func (s *stream) send(ctx context.Context, ev watch.Event) bool {
	select {
	case s.events <- ev:
		return true
	case <-ctx.Done():
		return false
	}
}

// objectList is a list of shared objects; a typed list would have to copy each of them.
type objectList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []runtime.Object
}

// DeepCopyObject implements runtime.Object; the objects stay shared.
func (l *objectList) DeepCopyObject() runtime.Object {
	c := *l
	c.Items = append([]runtime.Object(nil), l.Items...)
	return &c
}
