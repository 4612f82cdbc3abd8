package controller

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
)

// memAPI is an API server in memory with what client-go's fake lacks: resource versions that conflict, generations,
// finalizers, grace, propagation, terminating namespaces, and caches that lag.
type memAPI struct {
	scheme *runtime.Scheme
	infos  []api.ResourceInfo

	mu        sync.Mutex
	rv        uint64
	serial    int
	objects   map[schema.GroupVersionResource]map[string]api.Object
	log       []logged
	watchers  map[*memWatch]struct{}
	informers map[schema.GroupVersionResource]cache.SharedIndexInformer
	calls     map[string]int // by "verb Kind"
	// fault, when set, may refuse a call before anything happens.
	fault func(verb string, obj api.Object) error
	// lag is how far the caches of a resource are behind.
	lag map[schema.GroupVersionResource]time.Duration
	// latency is how long each write takes.
	latency time.Duration
}

// logged is one change as watchers see it.
type logged struct {
	gvr  schema.GroupVersionResource
	kind string // ADDED, MODIFIED, DELETED
	obj  api.Object
	rv   uint64
	at   time.Time
}

func newMemAPI(scheme *runtime.Scheme, infos []api.ResourceInfo) *memAPI {
	return &memAPI{
		scheme: scheme, infos: infos, objects: make(map[schema.GroupVersionResource]map[string]api.Object),
		watchers: make(map[*memWatch]struct{}), informers: make(map[schema.GroupVersionResource]cache.SharedIndexInformer),
		calls: make(map[string]int), lag: make(map[schema.GroupVersionResource]time.Duration),
	}
}

func (m *memAPI) Resources() []api.ResourceInfo { return m.infos }

func (m *memAPI) infoOf(obj api.Object) api.ResourceInfo {
	kinds, _, err := m.scheme.ObjectKinds(obj)
	if err != nil {
		panic(err)
	}
	for _, info := range m.infos {
		if slices.Contains(kinds, info.GVK) {
			return info
		}
	}
	panic(fmt.Sprintf("%T is not served", obj))
}

// begin counts a call, lets it take its time and asks for a fault.
func (m *memAPI) begin(verb string, obj api.Object) (api.ResourceInfo, error) {
	info := m.infoOf(obj)
	m.mu.Lock()
	m.calls[verb+" "+info.GVK.Kind]++
	fault, latency := m.fault, m.latency
	m.mu.Unlock()
	if latency > 0 && verb != "get" {
		time.Sleep(latency)
	}
	if fault != nil {
		return info, fault(verb, obj)
	}
	return info, nil
}

func (m *memAPI) count(call string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[call]
}

func (m *memAPI) setFault(fault func(verb string, obj api.Object) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

func (m *memAPI) find(info api.ResourceInfo, obj api.Object) (api.Object, error) {
	if have := m.objects[info.GVR][keyOf(obj).String()]; have != nil {
		return have, nil
	}
	return nil, apierrors.NewNotFound(info.GVR.GroupResource(), obj.GetName())
}

// store keeps an object under a new resource version and tells the watchers. The caller holds the lock.
func (m *memAPI) store(info api.ResourceInfo, obj api.Object, kind string) api.Object {
	m.rv++
	obj = obj.DeepCopyObject().(api.Object)
	obj.SetResourceVersion(strconv.FormatUint(m.rv, 10))
	if m.objects[info.GVR] == nil {
		m.objects[info.GVR] = make(map[string]api.Object)
	}
	if kind == "DELETED" {
		delete(m.objects[info.GVR], keyOf(obj).String())
	} else {
		m.objects[info.GVR][keyOf(obj).String()] = obj
	}
	m.log = append(m.log, logged{gvr: info.GVR, kind: kind, obj: obj, rv: m.rv, at: time.Now()})
	for w := range m.watchers {
		w.poke()
	}
	return obj.DeepCopyObject().(api.Object)
}

func (m *memAPI) Get(_ context.Context, obj api.Object) (api.Object, error) {
	info, err := m.begin("get", obj)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	have, err := m.find(info, obj)
	if err != nil {
		return nil, err
	}
	return have.DeepCopyObject().(api.Object), nil
}

func (m *memAPI) Create(_ context.Context, obj api.Object) (api.Object, error) {
	info, err := m.begin("create", obj)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	obj = obj.DeepCopyObject().(api.Object)
	if ns := m.objects[namespacesResource]["/"+obj.GetNamespace()]; ns != nil && ns.GetDeletionTimestamp() != nil {
		refused := apierrors.NewForbidden(info.GVR.GroupResource(), obj.GetName(), errors.New("the namespace is going"))
		refused.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
		return nil, refused
	}
	m.serial++
	if obj.GetName() == "" {
		obj.SetName(fmt.Sprintf("%s%05d", obj.GetGenerateName(), m.serial))
	}
	if _, err := m.find(info, obj); err == nil {
		return nil, apierrors.NewAlreadyExists(info.GVR.GroupResource(), obj.GetName())
	}
	if obj.GetUID() == "" {
		obj.SetUID(types.UID(fmt.Sprintf("%s-uid-%d", info.GVR.Resource, m.serial)))
	}
	obj.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
	obj.SetGeneration(1)
	if ns, ok := obj.(*corev1.Namespace); ok {
		ns.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
	}
	if pod, ok := obj.(*corev1.Pod); ok && pod.Status.Phase == "" {
		pod.Status.Phase = corev1.PodPending
	}
	return m.store(info, obj, "ADDED"), nil
}

func (m *memAPI) Update(_ context.Context, obj api.Object) (api.Object, error) {
	return m.write("update", obj, func(changed, have api.Object) {
		copyField(changed, have, "Status")
		if ns, ok := changed.(*corev1.Namespace); ok {
			ns.Spec.Finalizers = have.(*corev1.Namespace).Spec.Finalizers
		}
	})
}

func (m *memAPI) UpdateStatus(_ context.Context, obj api.Object) (api.Object, error) {
	return m.write("status", obj, func(changed, have api.Object) {
		copyField(changed, have, "Spec")
		copyField(changed, have, "ObjectMeta")
	})
}

func (m *memAPI) Finalize(_ context.Context, ns *corev1.Namespace) error {
	_, err := m.write("finalize", ns, func(changed, have api.Object) { copyField(changed, have, "Status") })
	return err
}

// copyField takes one field of a struct over, when there is such a field.
func copyField(to, from api.Object, name string) {
	dst, src := reflect.ValueOf(to).Elem().FieldByName(name), reflect.ValueOf(from).Elem().FieldByName(name)
	if dst.IsValid() {
		dst.Set(src)
	}
}

func sameField(a, b api.Object, name string) bool {
	x, y := reflect.ValueOf(a).Elem().FieldByName(name), reflect.ValueOf(b).Elem().FieldByName(name)
	return !x.IsValid() || equality.Semantic.DeepEqual(x.Interface(), y.Interface())
}

// write stores a change of an existing object. keep takes over what the verb may not change.
func (m *memAPI) write(verb string, obj api.Object, keep func(changed, have api.Object)) (api.Object, error) {
	info, err := m.begin(verb, obj)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	have, err := m.find(info, obj)
	if err != nil {
		return nil, err
	}
	if v := obj.GetResourceVersion(); v != "" && v != have.GetResourceVersion() {
		return nil, apierrors.NewConflict(info.GVR.GroupResource(), obj.GetName(), errors.New("it was changed meanwhile"))
	}
	changed, before := obj.DeepCopyObject().(api.Object), have.DeepCopyObject().(api.Object)
	keep(changed, before)
	changed.SetUID(have.GetUID())
	changed.SetCreationTimestamp(have.GetCreationTimestamp())
	changed.SetDeletionTimestamp(have.GetDeletionTimestamp())
	changed.SetDeletionGracePeriodSeconds(have.GetDeletionGracePeriodSeconds())
	changed.SetGeneration(have.GetGeneration())
	changed.SetResourceVersion(have.GetResourceVersion())
	if !sameField(changed, have, "Spec") {
		changed.SetGeneration(have.GetGeneration() + 1)
	}
	if released(changed) {
		return m.store(info, changed, "DELETED"), nil
	}
	if equality.Semantic.DeepEqual(changed, have) {
		return have.DeepCopyObject().(api.Object), nil
	}
	return m.store(info, changed, "MODIFIED"), nil
}

// released tells whether nothing keeps an object any more that is being deleted.
func released(obj api.Object) bool {
	if obj.GetDeletionTimestamp() == nil || len(obj.GetFinalizers()) > 0 {
		return false
	}
	if ns, ok := obj.(*corev1.Namespace); ok {
		return len(ns.Spec.Finalizers) == 0
	}
	grace := obj.GetDeletionGracePeriodSeconds()
	return grace == nil || *grace == 0
}

func (m *memAPI) Delete(_ context.Context, obj api.Object, opts metav1.DeleteOptions) error {
	info, err := m.begin("delete", obj)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	have, err := m.find(info, obj)
	if err != nil {
		return err
	}
	if p := opts.Preconditions; p != nil {
		if p.UID != nil && *p.UID != have.GetUID() || p.ResourceVersion != nil && *p.ResourceVersion != have.GetResourceVersion() {
			return apierrors.NewConflict(info.GVR.GroupResource(), obj.GetName(), errors.New("the precondition does not hold"))
		}
	}
	changed := have.DeepCopyObject().(api.Object)
	if policy := opts.PropagationPolicy; policy != nil {
		finalizers := slices.DeleteFunc(slices.Clone(changed.GetFinalizers()), func(f string) bool {
			return f == metav1.FinalizerDeleteDependents || f == metav1.FinalizerOrphanDependents
		})
		switch *policy {
		case metav1.DeletePropagationForeground:
			finalizers = append(finalizers, metav1.FinalizerDeleteDependents)
		case metav1.DeletePropagationOrphan:
			finalizers = append(finalizers, metav1.FinalizerOrphanDependents)
		}
		changed.SetFinalizers(finalizers)
	}
	if changed.GetDeletionTimestamp() == nil {
		now := metav1.NewTime(time.Now().Truncate(time.Second))
		changed.SetDeletionTimestamp(&now)
		changed.SetGeneration(changed.GetGeneration() + 1)
	}
	grace := graceOf(changed, opts)
	if had := changed.GetDeletionGracePeriodSeconds(); had != nil {
		grace = min(grace, *had)
	}
	changed.SetDeletionGracePeriodSeconds(&grace)
	if ns, ok := changed.(*corev1.Namespace); ok {
		ns.Status.Phase = corev1.NamespaceTerminating
	}
	if released(changed) {
		m.store(info, changed, "DELETED")
	} else if !equality.Semantic.DeepEqual(changed, have) {
		m.store(info, changed, "MODIFIED")
	}
	return nil
}

// graceOf is how long a pod may take; it is its node that ends it. Nothing else has any.
func graceOf(obj api.Object, opts metav1.DeleteOptions) int64 {
	pod, ok := obj.(*corev1.Pod)
	switch {
	case !ok || pod.Spec.NodeName == "" || finished(pod):
		return 0
	case opts.GracePeriodSeconds != nil:
		return *opts.GracePeriodSeconds
	}
	return corev1.DefaultTerminationGracePeriodSeconds
}
