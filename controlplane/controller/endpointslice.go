package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// endpointWorkers is how many services are worked on at once.
const endpointWorkers = 4

var serviceKind = corev1.SchemeGroupVersion.WithKind("Service")

// endpointSlices lists for each service with a selector where it is served.
type endpointSlices struct {
	*loop[types.NamespacedName]
	services, pods, slices cache.Indexer
	// own holds the slices as this controller wrote them, until the cache has caught up.
	own *latest[*discoveryv1.EndpointSlice]
}

func newEndpointSlices(e *env) (controller, error) {
	byNamespace := cache.Indexers{indexNamespace: cache.MetaNamespaceIndexFunc}
	if err := e.addIndexers(podsResource, byNamespace); err != nil {
		return nil, err
	}
	if err := e.addIndexers(servicesResource, byNamespace); err != nil {
		return nil, err
	}
	if err := e.addIndexers(endpointSlicesResource, cache.Indexers{indexService: byService}); err != nil {
		return nil, err
	}
	c := &endpointSlices{
		services: e.indexer(servicesResource), pods: e.indexer(podsResource),
		slices: e.indexer(endpointSlicesResource), own: newLatest[*discoveryv1.EndpointSlice](),
	}
	c.loop = &loop[types.NamespacedName]{
		env: e, title: "endpointslice", workers: endpointWorkers, reconcile: c.step,
		sources: []source[types.NamespacedName]{
			{gvr: servicesResource, handle: func(ch change) { c.add(keyOf(ch.object())) }},
			{gvr: podsResource, handle: c.onPod},
			{gvr: endpointSlicesResource, handle: c.onSlice},
		},
	}
	return c, nil
}

// onPod has the services looked at that select the pod, or did.
func (c *endpointSlices) onPod(ch change) {
	if ch.old != nil && ch.new != nil && sameEndpoint(ch.old.(*corev1.Pod), ch.new.(*corev1.Pod)) {
		return
	}
	for _, service := range byIndex[*corev1.Service](c.services, indexNamespace, ch.object().GetNamespace()) {
		if ch.new != nil && selects(service, ch.new.GetLabels()) || ch.old != nil && selects(service, ch.old.GetLabels()) {
			c.addBatched(keyOf(service))
		}
	}
}

func (c *endpointSlices) onSlice(ch change) {
	c.own.observe(ch)
	slice := ch.object()
	if slice.GetLabels()[discoveryv1.LabelManagedBy] != managedBy && ch.old == nil {
		return
	}
	if name := slice.GetLabels()[discoveryv1.LabelServiceName]; name != "" {
		c.addBatched(types.NamespacedName{Namespace: slice.GetNamespace(), Name: name})
	}
}

// selects tells whether a service is served by pods with these labels. A service without a selector is served by
// whoever writes its slices.
func selects(service *corev1.Service, pod map[string]string) bool {
	return len(service.Spec.Selector) > 0 && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod))
}

// sameEndpoint tells whether nothing changed that an endpoint is made of.
func sameEndpoint(a, b *corev1.Pod) bool {
	x, okX := podAddress(a)
	y, okY := podAddress(b)
	return x == y && okX == okY && ready(a) == ready(b) && finished(a) == finished(b) &&
		(a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) &&
		a.UID == b.UID && a.Spec.NodeName == b.Spec.NodeName && maps.Equal(a.Labels, b.Labels)
}

// step brings one service's slices up to date.
func (c *endpointSlices) step(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	existing, err := c.own.overlay(ctx, c.env, func(s *discoveryv1.EndpointSlice) bool {
		return s.Namespace == key.Namespace && s.Labels[discoveryv1.LabelServiceName] == key.Name
	}, func() []*discoveryv1.EndpointSlice {
		return byIndex[*discoveryv1.EndpointSlice](c.slices, indexService, key.String())
	})
	if err != nil {
		return 0, err
	}
	existing = slices.DeleteFunc(existing, func(s *discoveryv1.EndpointSlice) bool {
		return s.Labels[discoveryv1.LabelManagedBy] != managedBy
	})
	service, ok := lookup[*corev1.Service](c.services, key)
	if !ok || service.DeletionTimestamp != nil || len(service.Spec.Selector) == 0 ||
		service.Spec.Type == corev1.ServiceTypeExternalName {
		return 0, c.remove(ctx, existing)
	}
	selector := labels.SelectorFromSet(service.Spec.Selector)
	var pods []*corev1.Pod
	for _, pod := range byIndex[*corev1.Pod](c.pods, indexNamespace, key.Namespace) {
		if _, ok := podAddress(pod); ok && selector.Matches(labels.Set(pod.Labels)) {
			pods = append(pods, pod)
		}
	}
	return 0, c.carryOut(ctx, service, planSlices(service, pods, existing))
}

// carryOut writes a plan: what is served in more places before what is served in fewer.
func (c *endpointSlices) carryOut(ctx context.Context, service *corev1.Service, plan *slicePlan) error {
	for _, s := range plan.create {
		if err := c.create(ctx, service, s); err != nil {
			if namespaceTerminating(err) {
				return nil
			}
			c.env.warn(service, "FailedToCreateEndpointSlice", "Error creating endpoints of the service: %v", err)
			return err
		}
	}
	for _, s := range plan.update {
		result, err := c.env.Client.Update(ctx, s)
		if err != nil {
			return fmt.Errorf("update endpointslice: %w", err)
		}
		c.own.wrote(result.(*discoveryv1.EndpointSlice), c.cached(s))
	}
	return c.remove(ctx, plan.remove)
}

// cached reads a slice as the cache has it.
func (c *endpointSlices) cached(s *discoveryv1.EndpointSlice) func() (*discoveryv1.EndpointSlice, bool) {
	return func() (*discoveryv1.EndpointSlice, bool) {
		return lookup[*discoveryv1.EndpointSlice](c.slices, keyOf(s))
	}
}

// nameTries bounds how often another name is tried for a slice whose name a stranger has taken.
const nameTries = 4

// create makes a slice. A name that exists is either the slice itself, made a moment ago and not in the cache yet,
// which is an error that the next step resolves, or somebody else's.
func (c *endpointSlices) create(ctx context.Context, service *corev1.Service, s *discoveryv1.EndpointSlice) error {
	name := s.Name
	for try := 0; ; try++ {
		stored, err := c.env.Client.Create(ctx, s)
		if err == nil {
			made := stored.(*discoveryv1.EndpointSlice)
			c.own.created(made, c.cached(made), c.env.Clock.Now())
			return nil
		}
		if !apierrors.IsAlreadyExists(err) || try == nameTries {
			return fmt.Errorf("create endpointslice: %w", err)
		}
		there, getErr := c.env.Client.Get(ctx, named(s))
		if getErr != nil {
			return fmt.Errorf("read endpointslice: %w", getErr)
		}
		if there.GetLabels()[discoveryv1.LabelManagedBy] == managedBy && metav1.IsControlledBy(there, service) {
			return apierrors.NewConflict(endpointSlicesResource.GroupResource(), s.Name, err)
		}
		s.Name = fmt.Sprintf("%s-%d", name, try+1)
	}
}

func (c *endpointSlices) remove(ctx context.Context, stale []*discoveryv1.EndpointSlice) error {
	for _, s := range stale {
		err := c.env.Client.Delete(ctx, named(s), metav1.DeleteOptions{
			Preconditions: metav1.NewUIDPreconditions(string(s.UID)),
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete endpointslice: %w", err)
		}
		c.own.forget(s.UID)
	}
	return nil
}
