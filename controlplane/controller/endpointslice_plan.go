package controller

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// maxEndpoints bounds a slice: a change of one endpoint sends the whole slice to every watcher.
	maxEndpoints = 100
	// managedBy marks the slices that are this controller's own; all others are left alone.
	managedBy = "endpointslice-controller.petrel.run"
)

// slicePlan is what to write so that the slices show the endpoints.
type slicePlan struct {
	create, update, remove []*discoveryv1.EndpointSlice
}

// planSlices places endpoints in slices. An endpoint stays in the slice it is in; new ones fill up slices first, those
// that change anyway before others; only what is left makes new slices. existing are the controller's own slices of
// the service, which are not changed.
func planSlices(service *corev1.Service, pods []*corev1.Pod, existing []*discoveryv1.EndpointSlice) *slicePlan {
	plan := &slicePlan{}
	taken := make(map[string]bool, len(existing))
	bySignature := make(map[string][]*discoveryv1.EndpointSlice)
	for _, s := range existing {
		taken[s.Name] = true
		if s.AddressType != discoveryv1.AddressTypeIPv4 || s.DeletionTimestamp != nil {
			if s.DeletionTimestamp == nil {
				plan.remove = append(plan.remove, s)
			}
			continue
		}
		signature := portSignature(s.Ports)
		bySignature[signature] = append(bySignature[signature], s)
	}
	for _, group := range groupEndpoints(service, pods) {
		plan.place(service, group, bySignature[group.signature], taken)
		delete(bySignature, group.signature)
	}
	for _, stale := range bySignature {
		plan.remove = append(plan.remove, stale...)
	}
	slices.SortFunc(plan.remove, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	return plan
}

// draft is a slice with the endpoints it shall have.
type draft struct {
	slice     *discoveryv1.EndpointSlice
	endpoints []discoveryv1.Endpoint
	changed   bool
}

// place distributes one group's endpoints.
func (p *slicePlan) place(service *corev1.Service, group *portGroup, have []*discoveryv1.EndpointSlice, taken map[string]bool) {
	drafts, rest := keepPlaces(group, have)
	// Slices that change anyway first, then the fullest: few writes, few slices.
	slices.SortStableFunc(drafts, func(a, b *draft) int {
		return cmp.Or(falseFirst(!a.changed, !b.changed), cmp.Compare(len(b.endpoints), len(a.endpoints)),
			cmp.Compare(a.slice.Name, b.slice.Name))
	})
	for _, d := range drafts {
		if room := min(maxEndpoints-len(d.endpoints), len(rest)); room > 0 {
			d.endpoints = append(d.endpoints, rest[:room]...)
			d.changed = true
			rest = rest[room:]
		}
	}
	kept := 0
	for i, d := range drafts {
		last := i == len(drafts)-1 && kept == 0 && len(rest) == 0
		if len(d.endpoints) == 0 && !last {
			p.remove = append(p.remove, d.slice)
			continue
		}
		kept++
		if updated := describeSlice(d.slice.DeepCopy(), service); d.changed || !sameMeta(updated, d.slice) {
			updated.Endpoints = d.endpoints
			p.update = append(p.update, updated)
		}
	}
	for salt := 0; len(rest) > 0 || kept == 0; kept++ {
		take := min(maxEndpoints, len(rest))
		name := sliceName(service, group.signature, salt)
		for taken[name] {
			salt++
			name = sliceName(service, group.signature, salt)
		}
		taken[name] = true
		p.create = append(p.create, newSlice(service, name, group.ports, rest[:take]))
		rest = rest[take:]
	}
}

// keepPlaces leaves each endpoint in the slice it is in and returns those that have no place yet.
func keepPlaces(group *portGroup, have []*discoveryv1.EndpointSlice) (drafts []*draft, rest []discoveryv1.Endpoint) {
	want := make(map[types.UID]*discoveryv1.Endpoint, len(group.endpoints))
	for i := range group.endpoints {
		want[endpointKey(&group.endpoints[i])] = &group.endpoints[i]
	}
	for _, s := range have {
		d := &draft{slice: s}
		for i := range s.Endpoints {
			key := endpointKey(&s.Endpoints[i])
			e, ok := want[key]
			if !ok {
				d.changed = true
				continue
			}
			delete(want, key)
			if !equalEndpoint(e, &s.Endpoints[i]) {
				d.changed = true
			}
			d.endpoints = append(d.endpoints, *e)
		}
		drafts = append(drafts, d)
	}
	for i := range group.endpoints {
		if _, ok := want[endpointKey(&group.endpoints[i])]; ok {
			rest = append(rest, group.endpoints[i])
		}
	}
	return drafts, rest
}

func newSlice(
	service *corev1.Service, name string, ports []discoveryv1.EndpointPort, endpoints []discoveryv1.Endpoint,
) *discoveryv1.EndpointSlice {
	return describeSlice(&discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: service.Namespace, Name: name},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       ports,
		Endpoints:   slices.Clone(endpoints),
	}, service)
}

// describeSlice sets a slice's labels and owner from its service.
func describeSlice(s *discoveryv1.EndpointSlice, service *corev1.Service) *discoveryv1.EndpointSlice {
	labels := make(map[string]string, len(service.Labels)+3)
	maps.Copy(labels, service.Labels)
	delete(labels, corev1.IsHeadlessService)
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	labels[discoveryv1.LabelServiceName] = service.Name
	labels[discoveryv1.LabelManagedBy] = managedBy
	s.Labels = labels
	s.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(service, serviceKind)}
	return s
}

func sameMeta(a, b *discoveryv1.EndpointSlice) bool {
	return maps.Equal(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.OwnerReferences, b.OwnerReferences)
}
