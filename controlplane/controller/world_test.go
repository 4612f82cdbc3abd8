package controller

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

// served is what the tests' API has.
var served = []api.ResourceInfo{
	info(namespacesResource, corev1.SchemeGroupVersion, "Namespace", false),
	info(nodesResource, corev1.SchemeGroupVersion, "Node", false),
	info(corev1.SchemeGroupVersion.WithResource("configmaps"), corev1.SchemeGroupVersion, "ConfigMap", true),
	info(corev1.SchemeGroupVersion.WithResource("events"), corev1.SchemeGroupVersion, "Event", true),
	info(podsResource, corev1.SchemeGroupVersion, "Pod", true),
	info(servicesResource, corev1.SchemeGroupVersion, "Service", true),
	info(leasesResource, coordinationv1.SchemeGroupVersion, "Lease", true),
	info(deploymentsResource, appsv1.SchemeGroupVersion, "Deployment", true),
	info(replicaSetsResource, appsv1.SchemeGroupVersion, "ReplicaSet", true),
	info(jobsResource, batchv1.SchemeGroupVersion, "Job", true),
	info(claimsResource, corev1.SchemeGroupVersion, "PersistentVolumeClaim", true),
	info(volumesResource, corev1.SchemeGroupVersion, "PersistentVolume", false),
	info(classesResource, storagev1.SchemeGroupVersion, "StorageClass", false),
	info(attachmentsResource, storagev1.SchemeGroupVersion, "VolumeAttachment", false),
	info(csiDriversResource, storagev1.SchemeGroupVersion, "CSIDriver", false),
	info(endpointSlicesResource, discoveryv1.SchemeGroupVersion, "EndpointSlice", true),
}

func info(gvr schema.GroupVersionResource, gv schema.GroupVersion, kind string, namespaced bool) api.ResourceInfo {
	return api.ResourceInfo{GVR: gvr, GVK: gv.WithKind(kind), Namespaced: namespaced}
}

// world is an API in memory with controllers at work, in fake time.
type world struct {
	*memAPI
	t      *testing.T
	events *record.FakeRecorder
	config Config
	stop   func()
}

type build = func(*env) (controller, error)

// inWorld runs body with the controllers at work. Time is fake: it passes only in settle.
func inWorld(t *testing.T, builders []build, body func(w *world), objects ...api.Object) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, obj := range objects {
			w.create(obj)
		}
		w.start(builders...)
		defer func() { w.stop() }()
		w.settle(time.Second)
		body(w)
	})
}

func newWorld(t *testing.T) *world {
	s := runtime.NewScheme()
	if err := scheme.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	w := &world{memAPI: newMemAPI(s, served), t: t, events: record.NewFakeRecorder(100_000)}
	w.config = Config{Client: w.memAPI, Informers: w.memAPI, Recorder: w.events, Logger: slog.New(slog.DiscardHandler)}
	return w
}

// start runs controllers over fresh caches, as a process does that just started.
func (w *world) start(builders ...build) {
	config, err := w.config.withDefaults()
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	clear(w.informers)
	w.mu.Unlock()
	e := &env{Config: config}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	var controllers []controller
	for _, b := range builders {
		c, err := b(e)
		if err != nil {
			w.t.Fatal(err)
		}
		controllers = append(controllers, c)
	}
	for _, info := range served {
		w.Informer(info.GVR)
	}
	group.Go(func() { w.runInformers(ctx) })
	for _, c := range controllers {
		group.Go(func() {
			if err := c.run(ctx); !errors.Is(err, context.Canceled) {
				w.t.Errorf("%s: %v", c.name(), err)
			}
		})
	}
	w.stop = func() {
		cancel()
		group.Wait()
	}
}

// settle lets time pass and everything that is due happen.
func (w *world) settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) create(obj api.Object) api.Object {
	w.t.Helper()
	stored, err := w.Create(context.Background(), obj)
	if err != nil {
		w.t.Fatalf("create %T: %v", obj, err)
	}
	return stored
}

func (w *world) delete(obj api.Object, policy metav1.DeletionPropagation) {
	w.t.Helper()
	if err := w.Delete(context.Background(), named(obj), metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		w.t.Fatalf("delete %T %s: %v", obj, obj.GetName(), err)
	}
}

// exists tells whether an object of obj's kind and name is stored.
func (w *world) exists(obj api.Object) bool {
	w.t.Helper()
	_, err := w.Get(context.Background(), named(obj))
	if err != nil && !apierrors.IsNotFound(err) {
		w.t.Fatal(err)
	}
	return err == nil
}

// get reads an object as it is stored.
func get[T api.Object](w *world, obj T) T {
	w.t.Helper()
	stored, err := w.Get(context.Background(), named(obj))
	if err != nil {
		w.t.Fatalf("get %T %s: %v", obj, obj.GetName(), err)
	}
	return stored.(T)
}

// edit writes a change of an object's spec or metadata.
func edit[T api.Object](w *world, obj T, change func(T)) T {
	w.t.Helper()
	fresh := get(w, obj)
	change(fresh)
	stored, err := w.Update(context.Background(), fresh)
	if err != nil {
		w.t.Fatalf("update %T %s: %v", obj, obj.GetName(), err)
	}
	return stored.(T)
}

// changeStatus writes a change of an object's status.
func changeStatus[T api.Object](w *world, obj T, change func(T)) T {
	w.t.Helper()
	fresh := get(w, obj)
	change(fresh)
	stored, err := w.UpdateStatus(context.Background(), fresh)
	if err != nil {
		w.t.Fatalf("update status of %T %s: %v", obj, obj.GetName(), err)
	}
	return stored.(T)
}

// all lists the stored objects of a kind, by name.
func all[T api.Object](w *world, gvr schema.GroupVersionResource) []T {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []T
	for _, obj := range w.objects[gvr] {
		found = append(found, obj.DeepCopyObject().(T))
	}
	slices.SortFunc(found, func(a, b T) int {
		if a.GetName() < b.GetName() {
			return -1
		}
		return 1
	})
	return found
}

func (w *world) pods() []*corev1.Pod { return all[*corev1.Pod](w, podsResource) }

// live lists the pods that neither ended nor are being deleted.
func (w *world) live() []*corev1.Pod {
	return slices.DeleteFunc(w.pods(), func(p *corev1.Pod) bool { return finished(p) || p.DeletionTimestamp != nil })
}

// hadEvent tells whether an event of that kind and reason was recorded, and drops those before it.
func (w *world) hadEvent(prefix string) bool {
	for {
		select {
		case e := <-w.events.Events:
			if len(e) >= len(prefix) && e[:len(prefix)] == prefix {
				return true
			}
		default:
			return false
		}
	}
}

// run brings a pod up on its node.
func (w *world) run(pod *corev1.Pod) {
	w.t.Helper()
	if pod.Spec.NodeName == "" {
		edit(w, pod, func(p *corev1.Pod) { p.Spec.NodeName = "node" })
	}
	changeStatus(w, pod, func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		setReady(p, true)
	})
}

// end lets a pod's containers end.
func (w *world) end(pod *corev1.Pod, phase corev1.PodPhase) {
	w.t.Helper()
	changeStatus(w, pod, func(p *corev1.Pod) {
		p.Status.Phase = phase
		setReady(p, false)
	})
}

// kill is what a node does with a terminating pod in the end.
func (w *world) kill(pod *corev1.Pod) {
	w.t.Helper()
	err := w.Delete(context.Background(), named(pod), metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	if err != nil && !apierrors.IsNotFound(err) {
		w.t.Fatal(err)
	}
}

func setReady(p *corev1.Pod, ready bool) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	now := metav1.NewTime(time.Now())
	if c := podCondition(p, corev1.PodReady); c != nil {
		if c.Status != status {
			c.Status, c.LastTransitionTime = status, now
		}
		return
	}
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodReady, Status: status, LastTransitionTime: now,
	})
}

// nodeAgent plays a node: pods come up a while after they were made, terminating ones go. It runs until ctx ends.
func (w *world) nodeAgent(ctx context.Context, period time.Duration, mayRun func(*corev1.Pod) bool) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, pod := range w.pods() {
			switch {
			case pod.DeletionTimestamp != nil:
				w.kill(pod)
			case pod.Status.Phase == corev1.PodPending && mayRun(pod):
				w.run(pod)
			}
		}
	}
}

// withNode runs body while a node agent works.
func (w *world) withNode(period time.Duration, mayRun func(*corev1.Pod) bool, body func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		w.nodeAgent(ctx, period, mayRun)
		close(done)
	}()
	body()
	cancel()
	<-done
}

func always(*corev1.Pod) bool { return true }

func template(image string, labels map[string]string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "app", Image: image}},
		},
	}
}

var web = map[string]string{"app": "web"}

func replicaSet(replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To(replicas), Selector: &metav1.LabelSelector{MatchLabels: web}, Template: template("v1", web),
		},
	}
}

// flaky has writes fail, one in so many, until the function it returns switches that off.
func (w *world) flaky(seed uint64, oneIn int) (on func(bool)) {
	var mu sync.Mutex
	r, failing := rand.New(rand.NewPCG(seed, 99)), true
	w.setFault(func(verb string, _ api.Object) error {
		mu.Lock()
		defer mu.Unlock()
		if failing && r.IntN(oneIn) == 0 {
			return errors.New("the store is away")
		}
		return nil
	})
	return func(now bool) {
		mu.Lock()
		defer mu.Unlock()
		failing = now
	}
}
