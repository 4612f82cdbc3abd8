package controller

import (
	"context"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Informer returns the real shared informer over the memory.
func (m *memAPI) Informer(gvr schema.GroupVersionResource) cache.SharedIndexInformer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if inf := m.informers[gvr]; inf != nil {
		return inf
	}
	for _, info := range m.infos {
		if info.GVR != gvr {
			continue
		}
		sample, err := m.scheme.New(info.GVK)
		if err != nil {
			panic(err)
		}
		m.informers[gvr] = cache.NewSharedIndexInformer(&memLister{m, gvr}, sample, 0, cache.Indexers{})
		return m.informers[gvr]
	}
	panic("not served: " + gvr.String())
}

// runInformers runs those that were asked for until ctx ends.
func (m *memAPI) runInformers(ctx context.Context) {
	done := make(chan struct{})
	m.mu.Lock()
	count := len(m.informers)
	for _, inf := range m.informers {
		go func() {
			inf.RunWithContext(ctx)
			done <- struct{}{}
		}()
	}
	m.mu.Unlock()
	for range count {
		<-done
	}
}

type memLister struct {
	api *memAPI
	gvr schema.GroupVersionResource
}

func (l *memLister) IsWatchListSemanticsUnSupported() bool { return true }

func (l *memLister) List(metav1.ListOptions) (runtime.Object, error) {
	l.api.mu.Lock()
	defer l.api.mu.Unlock()
	list := &metav1.List{}
	list.ResourceVersion = strconv.FormatUint(l.api.rv, 10)
	for _, obj := range l.api.objects[l.gvr] {
		list.Items = append(list.Items, runtime.RawExtension{Object: obj})
	}
	return list, nil
}

func (l *memLister) Watch(opts metav1.ListOptions) (watch.Interface, error) {
	from, err := strconv.ParseUint(opts.ResourceVersion, 10, 64)
	if err != nil {
		return nil, err
	}
	w := &memWatch{
		api: l.api, gvr: l.gvr, from: from,
		events: make(chan watch.Event), signal: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	l.api.mu.Lock()
	l.api.watchers[w] = struct{}{}
	l.api.mu.Unlock()
	w.poke()
	go w.run()
	return w, nil
}

// memWatch sends what the log has of one resource, as late as the resource lags.
type memWatch struct {
	api    *memAPI
	gvr    schema.GroupVersionResource
	from   uint64
	next   int // in the log
	events chan watch.Event
	signal chan struct{}
	stop   chan struct{}
}

func (w *memWatch) ResultChan() <-chan watch.Event { return w.events }

func (w *memWatch) Stop() {
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	if _, ok := w.api.watchers[w]; ok {
		delete(w.api.watchers, w)
		close(w.stop)
	}
}

func (w *memWatch) poke() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

func (w *memWatch) run() {
	defer close(w.events)
	for {
		entry, wait, ok := w.take()
		if !ok {
			select {
			case <-w.signal:
				continue
			case <-w.stop:
				return
			}
		}
		if wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-w.stop:
				timer.Stop()
				return
			}
		}
		select {
		case w.events <- watch.Event{Type: watch.EventType(entry.kind), Object: entry.obj}:
		case <-w.stop:
			return
		}
	}
}

// take returns the next change of the resource and how long until it may be seen.
func (w *memWatch) take() (logged, time.Duration, bool) {
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	for w.next < len(w.api.log) {
		entry := w.api.log[w.next]
		w.next++
		if entry.gvr == w.gvr && entry.rv > w.from {
			return entry, time.Until(entry.at.Add(w.api.lag[w.gvr])), true
		}
	}
	return logged{}, 0, false
}
