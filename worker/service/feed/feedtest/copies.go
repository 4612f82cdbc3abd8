package feedtest

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// CopyWatches gives watchers objects of their own, as decoding does for those of a real client: the fake's are shared with
// its store. Each of opened is told of the resource of a watch that sees what happens from now on: unlike a real one, it
// tells nothing of what happened since the list before it.
func CopyWatches(client *fake.Clientset, opened ...func(resource string)) *fake.Clientset {
	client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		var opts metav1.ListOptions
		if a, ok := action.(clienttesting.WatchActionImpl); ok {
			opts = a.ListOptions
		}
		w, err := client.Tracker().Watch(action.GetResource(), action.GetNamespace(), opts)
		if err != nil {
			return true, nil, err
		}
		c := &copies{inner: w, out: make(chan watch.Event), done: make(chan struct{})}
		go c.run()
		for _, tell := range opened {
			tell(action.GetResource().Resource)
		}
		return true, c, nil
	})
	return client
}

// copies is a watch whose events carry copies.
type copies struct {
	inner watch.Interface
	out   chan watch.Event
	done  chan struct{}
	once  sync.Once
}

// ResultChan implements watch.Interface.
func (c *copies) ResultChan() <-chan watch.Event { return c.out }

// Stop implements watch.Interface.
func (c *copies) Stop() {
	c.once.Do(func() { close(c.done) })
	c.inner.Stop()
}

func (c *copies) run() {
	defer close(c.out)
	for event := range c.inner.ResultChan() {
		event.Object = event.Object.DeepCopyObject()
		select {
		case c.out <- event:
		case <-c.done:
			return
		}
	}
}
