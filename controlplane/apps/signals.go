package apps

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
)

// signals wake those who wait for an app when it, or one of its pods, changes. A signal says "look again", not what
// to see, so that one that nobody took yet stands for any number.
type signals struct {
	mu      sync.Mutex
	waiting map[types.NamespacedName]map[chan struct{}]struct{}
}

// wait registers for an app's signals until stop.
func (s *signals) wait(key types.NamespacedName) (ch <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = map[types.NamespacedName]map[chan struct{}]struct{}{}
	}
	if s.waiting[key] == nil {
		s.waiting[key] = map[chan struct{}]struct{}{}
	}
	s.waiting[key][c] = struct{}{}
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waiting[key], c)
		if len(s.waiting[key]) == 0 {
			delete(s.waiting, key)
		}
	}
}

func (s *signals) wake(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.waiting[key] {
		select {
		case c <- struct{}{}:
		default: // it has one already
		}
	}
}

func (s *signals) handler() cache.ResourceEventHandler {
	changed := func(obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		o, ok := obj.(api.Object)
		if !ok {
			return
		}
		name := o.GetLabels()[api.LabelApp]
		if app, ok := o.(*api.App); ok {
			name = app.Name
		}
		if name != "" {
			s.wake(types.NamespacedName{Namespace: o.GetNamespace(), Name: name})
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: changed, UpdateFunc: func(_, obj any) { changed(obj) }, DeleteFunc: changed,
	}
}
