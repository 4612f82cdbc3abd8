package controller

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
)

// deploymentWorkers is how many Deployments are worked on at once. A step writes a few objects at most.
const deploymentWorkers = 4

var deploymentKind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// deployments moves a Deployment's pods from one template to the next by scaling ReplicaSets, one for each template
// it ever had and still remembers.
type deployments struct {
	*loop[types.NamespacedName]
	objects, sets cache.Indexer
	// own holds the ReplicaSets as this controller wrote them last, until the cache has caught up: a plan made of
	// half-old numbers could take down more pods than the Deployment allows.
	own *latest[*appsv1.ReplicaSet]
}

func newDeployments(e *env) (controller, error) {
	err := e.addIndexers(replicaSetsResource, cache.Indexers{indexController: byController})
	if err != nil {
		return nil, err
	}
	err = e.addIndexers(deploymentsResource, cache.Indexers{indexNamespace: cache.MetaNamespaceIndexFunc})
	if err != nil {
		return nil, err
	}
	c := &deployments{
		objects: e.indexer(deploymentsResource), sets: e.indexer(replicaSetsResource),
		own: newLatest[*appsv1.ReplicaSet](),
	}
	c.loop = &loop[types.NamespacedName]{
		env: e, title: "deployment", workers: deploymentWorkers, reconcile: c.step,
		sources: []source[types.NamespacedName]{
			{gvr: deploymentsResource, handle: func(ch change) { c.add(keyOf(ch.object())) }},
			{gvr: replicaSetsResource, handle: c.onReplicaSet},
		},
	}
	return c, nil
}

func (c *deployments) onReplicaSet(ch change) {
	c.own.observe(ch)
	for _, rs := range []api.Object{ch.old, ch.new} {
		if rs == nil {
			continue
		}
		ref := metav1.GetControllerOfNoCopy(rs)
		if ref != nil && ref.Kind == deploymentKind.Kind {
			c.addBatched(types.NamespacedName{Namespace: rs.GetNamespace(), Name: ref.Name})
		}
	}
	if ch.new != nil && metav1.GetControllerOfNoCopy(ch.new) == nil {
		c.wakeAdopters(ch.new)
	}
}

// wakeAdopters has the Deployments looked at that may want a ReplicaSet without a controller.
func (c *deployments) wakeAdopters(rs api.Object) {
	if len(rs.GetLabels()) == 0 {
		return
	}
	for _, d := range byIndex[*appsv1.Deployment](c.objects, indexNamespace, rs.GetNamespace()) {
		selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(rs.GetLabels())) {
			c.add(keyOf(d))
		}
	}
}

// step brings one Deployment a step closer to its template and number.
func (c *deployments) step(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	cached, ok := lookup[*appsv1.Deployment](c.objects, key)
	if !ok {
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(cached.Spec.Selector)
	if err != nil || selector.Empty() {
		return 0, nil // the API lets no such object in; nothing to try again
	}
	d := cached.DeepCopy()
	owned, err := c.claimSets(ctx, d, selector)
	if err != nil {
		return 0, err
	}
	r := &rollout{c: c, d: d, sets: newSetGroup(d, owned), now: c.env.now()}
	if d.DeletionTimestamp != nil {
		return r.writeStatus(ctx)
	}
	r.notePause()
	if err := r.act(ctx); err != nil {
		return 0, err
	}
	return r.writeStatus(ctx)
}

// claimSets returns the ReplicaSets that belong to the Deployment, as this controller knows them best.
func (c *deployments) claimSets(
	ctx context.Context, d *appsv1.Deployment, selector labels.Selector,
) ([]*appsv1.ReplicaSet, error) {
	belongs := func(rs *appsv1.ReplicaSet) bool { return metav1.IsControlledBy(rs, d) }
	candidates, err := c.own.overlay(ctx, c.env, belongs, func() []*appsv1.ReplicaSet {
		owned := byIndex[*appsv1.ReplicaSet](c.sets, indexController, string(d.UID))
		return append(owned, byIndex[*appsv1.ReplicaSet](c.sets, indexController, orphansOf(d.Namespace))...)
	})
	if err != nil {
		return nil, err
	}
	claim := claimer[*appsv1.ReplicaSet]{env: c.env, owner: d, kind: deploymentKind, selector: selector}
	return claim.claim(ctx, candidates)
}
