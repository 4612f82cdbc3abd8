package scheduler

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/petrelrun/petrel/controlplane/api"
)

// fakeAPI is client-go's fake clientset behind the scheduler's interfaces.
type fakeAPI struct {
	set       *fake.Clientset
	factory   informers.SharedInformerFactory
	bindDelay time.Duration

	mu sync.Mutex
	// failBind, when set, answers a bind instead of the fake.
	failBind func(b *corev1.Binding) error
	binds    int
	flying   int
	most     int // binds under way at once
}

func newFakeAPI(objects ...runtime.Object) *fakeAPI {
	set := fake.NewClientset(objects...)
	return &fakeAPI{set: set, factory: informers.NewSharedInformerFactory(set, 0)}
}

func (f *fakeAPI) Informer(gvr schema.GroupVersionResource) cache.SharedIndexInformer {
	inf, err := f.factory.ForResource(gvr)
	if err != nil {
		panic(err)
	}
	return inf.Informer()
}

func (f *fakeAPI) Get(ctx context.Context, obj api.Object) (api.Object, error) {
	return f.set.CoreV1().Pods(obj.GetNamespace()).Get(ctx, obj.GetName(), metav1.GetOptions{})
}

func (f *fakeAPI) Update(ctx context.Context, obj api.Object) (api.Object, error) {
	return f.set.CoreV1().PersistentVolumeClaims(obj.GetNamespace()).Update(ctx, obj.(*corev1.PersistentVolumeClaim), metav1.UpdateOptions{})
}

func (f *fakeAPI) UpdateStatus(ctx context.Context, obj api.Object) (api.Object, error) {
	return f.set.CoreV1().Pods(obj.GetNamespace()).UpdateStatus(ctx, obj.(*corev1.Pod), metav1.UpdateOptions{})
}

func (f *fakeAPI) Bind(ctx context.Context, b *corev1.Binding) error {
	f.mu.Lock()
	f.binds++
	f.flying++
	f.most = max(f.most, f.flying)
	fail := f.failBind
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.flying--
		f.mu.Unlock()
	}()
	time.Sleep(f.bindDelay)
	if fail != nil {
		if err := fail(b); err != nil {
			return err
		}
	}
	pods := f.set.CoreV1().Pods(b.Namespace)
	p, err := pods.Get(ctx, b.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if p.Spec.NodeName != "" {
		return apierrors.NewConflict(podsResource.GroupResource(), b.Name, fmt.Errorf("bound already"))
	}
	p.Spec.NodeName = b.Target.Name
	_, err = pods.Update(ctx, p, metav1.UpdateOptions{})
	return err
}

// rig is a running scheduler in a synctest bubble.
type rig struct {
	*fakeAPI
	t         *testing.T
	scheduler *Scheduler
	events    *record.FakeRecorder
}

// inBubble runs a test with a scheduler over the objects, in fake time, and stops it at the end.
func inBubble(t *testing.T, body func(r *rig), objects ...runtime.Object) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeAPI(objects...)
		r := &rig{fakeAPI: f, t: t, events: record.NewFakeRecorder(10_000)}
		s, err := New(Config{Client: f, Informers: f, Recorder: r.events})
		if err != nil {
			t.Fatal(err)
		}
		r.scheduler = s
		ctx, cancel := context.WithCancel(t.Context())
		for _, gvr := range []schema.GroupVersionResource{podsResource, nodesResource, claimsResource, volumesResource, classesResource, runtimeClassesResource} {
			f.Informer(gvr)
		}
		f.factory.Start(ctx.Done())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		r.settle(100 * time.Millisecond)
		body(r)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		f.factory.Shutdown()
	})
}

// settle lets time pass and everything that is due happen.
func (r *rig) settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) create(p *corev1.Pod) {
	r.t.Helper()
	if _, err := r.set.CoreV1().Pods(p.Namespace).Create(context.Background(), p, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) delete(name string) {
	r.t.Helper()
	if err := r.set.CoreV1().Pods("default").Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) addNode(n *corev1.Node) {
	r.t.Helper()
	if _, err := r.set.CoreV1().Nodes().Create(context.Background(), n, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) pod(name string) *corev1.Pod {
	r.t.Helper()
	p, err := r.set.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) nodeOf(name string) string { return r.pod(name).Spec.NodeName }

func (r *rig) wantNode(name, node string) {
	r.t.Helper()
	if got := r.nodeOf(name); got != node {
		r.t.Errorf("pod %s is on %q, want %q", name, got, node)
	}
}

// used is what the scheduler counts on a node.
func (r *rig) used(node string) Resources {
	r.scheduler.mu.Lock()
	defer r.scheduler.mu.Unlock()
	return r.scheduler.cluster.node(node).Used
}

func uidOf(name string) types.UID { return types.UID("uid-" + name) }
