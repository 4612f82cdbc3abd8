package resource

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

func TestInformersFollowTheStore(t *testing.T) {
	ns := space(t)
	create(t, newConfigMap(ns, "before"))
	infs := NewInformers(shared)
	gvr := corev1.SchemeGroupVersion.WithResource("configmaps")
	inf := infs.Informer(gvr)
	if infs.Informer(gvr) != inf {
		t.Fatal("two informers for one resource")
	}
	seen := make(chan string, 100)
	_, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { seen <- "add " + o.(*corev1.ConfigMap).Name },
		UpdateFunc: func(_, o any) { seen <- "update " + o.(*corev1.ConfigMap).Name },
		DeleteFunc: func(o any) { seen <- "delete " + o.(*corev1.ConfigMap).Name },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- infs.Run(ctx) }()
	late := infs.Informer(corev1.SchemeGroupVersion.WithResource("secrets"))
	if err := infs.WaitForSync(ctx); err != nil {
		t.Fatal(err)
	}
	if !late.HasSynced() {
		t.Error("an informer asked for later did not start")
	}
	expect := func(want string) {
		t.Helper()
		for {
			select {
			case got := <-seen:
				if got == want {
					return
				}
			case <-time.After(60 * time.Second):
				t.Fatalf("no %q", want)
			}
		}
	}
	expect("add before")
	entry, err := shared.Get(t.Context(), must(gvr), ns, "before", true)
	if err != nil {
		t.Fatal(err)
	}
	obj, ok, err := inf.GetStore().GetByKey(ns + "/before")
	if err != nil || !ok || obj != any(entry.Object()) {
		t.Errorf("the informer's object is not the cache's own: %v %v", ok, err)
	}
	create(t, newConfigMap(ns, "after"))
	expect("add after")
	modify[*corev1.ConfigMap](t, must(gvr), call(ns, "after"), `{"data":{"x":"y"}}`)
	expect("update after")
	if err := shared.Client("test").Delete(t.Context(), newConfigMap(ns, "after"), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("delete after")
	list, err := corelisters.NewConfigMapLister(inf.GetIndexer()).ConfigMaps(ns).List(labels.Everything())
	if err != nil || len(list) != 1 {
		t.Errorf("lister has %d, %v", len(list), err)
	}
	if err := infs.Run(ctx); err == nil {
		t.Error("ran twice")
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestInformersServeEveryListableResource(t *testing.T) {
	infs := NewInformers(shared)
	if n := len(infs.Resources()); n != len(Definitions()) {
		t.Errorf("%d of %d", n, len(Definitions()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	for _, r := range infs.Resources() {
		infs.Informer(r.GVR)
	}
	done := make(chan error, 1)
	go func() { done <- infs.Run(ctx) }()
	if err := infs.WaitForSync(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	ended, end := context.WithCancelCause(t.Context())
	end(errors.New("given up"))
	fresh := NewInformers(shared)
	fresh.Informer(pods().GVR)
	if err := fresh.WaitForSync(ended); err == nil {
		t.Error("synced without running")
	}
}

func TestClientFindsOnlyWhatIsServed(t *testing.T) {
	if _, err := shared.Client("test").Get(t.Context(), &corev1.Endpoints{ObjectMeta: meta1("default", "x")}); err == nil { // deprecated, and not served
		t.Error("Endpoints are served")
	}
}

func TestEventsAreWrittenThroughTheSink(t *testing.T) {
	ns := space(t)
	p := create(t, newPod(ns, "p"))
	broadcaster := record.NewBroadcaster()
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(shared.Client("recorder").EventSink())
	recorder := broadcaster.NewRecorder(Scheme(), corev1.EventSource{Component: "test"})
	for range 3 {
		recorder.Event(p, corev1.EventTypeWarning, "Failed", "it did not work")
	}
	informers := NewInformers(shared)
	inf := informers.Informer(events().GVR)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- informers.Run(ctx) }()
	defer func() { cancel(); <-done }()
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		list, err := corelisters.NewEventLister(inf.GetIndexer()).Events(ns).List(labels.Everything())
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 1 && list[0].Count == 3 {
			if list[0].InvolvedObject.UID != p.UID || list[0].Source.Component != "test" {
				t.Errorf("event %+v", list[0])
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no event with count 3")
}
