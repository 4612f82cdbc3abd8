package resource

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/store"
)

// claims are objects that stand for an address or a port which one Service holds. The value is the object's key, so
// the store itself refuses a second holder, from whichever API server the request came. A claim is written before
// its Service and removed after it; what a crash leaves in between is found by Repair.
var claims = &store.Resource{
	GVR:        api.SchemeGroupVersion.WithResource("claims"),
	GVK:        metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"),
	Namespaced: true, // the pool is the namespace
	New:        func() runtime.Object { return &metav1.PartialObjectMetadata{} },
}

// The pools that claims are taken from.
const (
	poolClusterIP = "clusterip"
	poolNodePort  = "nodeport"
)

// annotationHolder is the namespace of the Service that a claim's owner reference names: references are for objects
// in the same namespace and carry none.
const annotationHolder = "petrel.run/service-namespace"

// holder is the Service that a claim is for.
type holder struct {
	namespace, name string
	uid             types.UID
}

func (h holder) String() string { return h.namespace + "/" + h.name }

func claimFor(pool, value string, h holder, now metav1.Time) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: pool, Name: value, CreationTimestamp: now,
		Annotations:     map[string]string{annotationHolder: h.namespace},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: h.name, UID: h.uid}},
	}}
}

func holderOf(claim *metav1.PartialObjectMetadata) holder {
	h := holder{namespace: claim.Annotations[annotationHolder]}
	if len(claim.OwnerReferences) > 0 {
		h.name, h.uid = claim.OwnerReferences[0].Name, claim.OwnerReferences[0].UID
	}
	return h
}

// take claims value for h. made tells that the claim was not there before; it is false where h holds it already. A
// claim of somebody else is an AlreadyExists error.
func (s *services) take(ctx context.Context, pool, value string, h holder) (made bool, err error) {
	_, err = s.registry.store.Create(ctx, claims, claimFor(pool, value, h, s.registry.now()))
	if !apierrors.IsAlreadyExists(err) {
		return err == nil, err
	}
	entry, getErr := s.registry.store.Get(ctx, claims, pool, value, true)
	if getErr != nil {
		return false, err
	}
	claim, getErr := object[*metav1.PartialObjectMetadata](entry)
	if getErr != nil {
		return false, getErr
	}
	if holderOf(claim).uid == h.uid {
		return false, nil
	}
	return false, err
}

// drop gives a claim back, if h still holds it.
func (s *services) drop(ctx context.Context, pool, value string, h holder) error {
	_, _, err := s.registry.store.Update(ctx, claims, pool, value, store.Preconditions{},
		func(current runtime.Object) (runtime.Object, store.Verdict, error) {
			if claim, ok := current.(*metav1.PartialObjectMetadata); !ok || holderOf(claim).uid != h.uid {
				return current, store.Keep, nil
			}
			return current, store.Remove, nil
		})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// free tells whether a value looks free. Only take can say it for sure.
func (s *services) free(ctx context.Context, pool, value string) bool {
	_, err := s.registry.store.Get(ctx, claims, pool, value, false)
	return apierrors.IsNotFound(err)
}

// Repair makes claims and Services agree again: it claims what a Service holds without a claim, and drops claims
// whose Service is gone. It is level-triggered and safe to run beside requests and on several servers.
func (r *Registry) Repair(ctx context.Context) error {
	// Claims first: a Service made after this list can only have claims that are younger than the grace.
	list, err := r.store.List(ctx, claims, store.ListOptions{Fresh: true})
	if err != nil {
		return fmt.Errorf("list claims: %w", err)
	}
	all, err := r.store.List(ctx, servicesDefinition().Stored, store.ListOptions{Fresh: true})
	if err != nil {
		return fmt.Errorf("list services: %w", err)
	}
	standing := map[claim]types.UID{}
	for _, entry := range list.Entries {
		obj, err := object[*metav1.PartialObjectMetadata](entry)
		if err != nil {
			return err
		}
		standing[claim{entry.Namespace, entry.Name}] = holderOf(obj).uid
	}
	held := map[types.UID][]claim{}
	for _, entry := range all.Entries {
		svc, err := serviceOf(entry)
		if err != nil {
			return err
		}
		held[svc.UID] = heldBy(svc)
		for _, c := range held[svc.UID] {
			if standing[c] == svc.UID {
				continue
			}
			if _, err := r.services.take(ctx, c.pool, c.value, holderFor(svc)); err != nil {
				// Two Services with one address can only come from outside; the elder keeps it.
				r.cfg.Logger.Error("service holds what another has claimed", "service", holderFor(svc).String(),
					"pool", c.pool, "value", c.value, "error", err)
			}
		}
	}
	for _, entry := range list.Entries {
		obj, err := object[*metav1.PartialObjectMetadata](entry)
		if err != nil {
			return err
		}
		h := holderOf(obj)
		if slices.Contains(held[h.uid], claim{obj.Namespace, obj.Name}) ||
			r.cfg.Now().Sub(obj.CreationTimestamp.Time) < claimGrace {
			continue
		}
		if err := r.services.drop(ctx, obj.Namespace, obj.Name, h); err != nil {
			return fmt.Errorf("drop claim %s %s: %w", obj.Namespace, obj.Name, err)
		}
		r.cfg.Logger.Info("dropped a claim without a service", "pool", obj.Namespace, "value", obj.Name, "service", h.String())
	}
	return nil
}
