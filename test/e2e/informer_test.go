package e2e

import (
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// watcher is a client-go informer, as every controller that people run has one: it lists once, watches on, and resumes
// after each interruption at the revision where it was.
type watcher struct {
	store cache.Store
}

// startInformer follows the ConfigMaps of the test's namespace until the test ends.
func startInformer(w *world) *watcher {
	w.Helper()
	const neverResync = 0
	factory := informers.NewSharedInformerFactoryWithOptions(w.client, neverResync, informers.WithNamespace(w.ns))
	informer := factory.Core().V1().ConfigMaps().Informer()
	factory.Start(w.Context().Done())
	w.Cleanup(factory.Shutdown)
	if !cache.WaitForCacheSync(w.Context().Done(), informer.HasSynced) {
		w.Fatal("the informer did not sync")
	}
	return &watcher{store: informer.GetStore()}
}

// verify asks that the informer comes to hold just what the API lists: nothing was missed, nothing is stale.
func (f *watcher) verify(w *world) {
	w.Helper()
	list, err := w.client.CoreV1().ConfigMaps(w.ns).List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	want := map[string]string{}
	for _, item := range list.Items {
		want[item.Name] = item.ResourceVersion
	}
	began := time.Now()
	w.eventually("the informer to hold what the API lists", func() error {
		have := map[string]string{}
		for _, object := range f.store.List() {
			item := object.(*corev1.ConfigMap)
			have[item.Name] = item.ResourceVersion
		}
		if !maps.Equal(have, want) {
			return fmt.Errorf("it holds %d objects, the API lists %d, or their revisions differ", len(have), len(want))
		}
		return nil
	})
	w.Logf("the informer was level with the API after %s", time.Since(began).Round(time.Millisecond))
}
