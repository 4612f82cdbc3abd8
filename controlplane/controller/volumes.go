package controller

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	helpers "k8s.io/component-helpers/storage/volume"

	"github.com/petrelrun/petrel/controlplane/api"
)

// volumeWorkers is how many volumes and claims are worked on at once.
const volumeWorkers = 4

// Finalizers that keep what is in use, by Kubernetes' names.
const (
	claimProtection  = "kubernetes.io/pvc-protection"
	volumeProtection = "kubernetes.io/pv-protection"
)

// defaultClass marks the class of claims that name none.
const defaultClass = "storageclass.kubernetes.io/is-default-class"

// volumeKey is a claim, or a volume when it has no namespace.
type volumeKey struct{ types.NamespacedName }

// volumes binds PersistentVolumeClaims to PersistentVolumes, one to one and for good, and keeps what is in use from
// being deleted. The volume names the claim first, guarded by its resourceVersion: from then on no other claim can have
// it, and whatever is interrupted is taken up again from there.
type volumes struct {
	*loop[volumeKey]
	claims, volumes, classes, nodes, pods cache.Indexer
	// unused is since when a claim that is to go was seen to be used by nobody.
	unused *since
}

func newVolumes(e *env) (controller, error) {
	if err := e.addIndexers(podsResource, cache.Indexers{indexClaims: byClaims}); err != nil {
		return nil, err
	}
	c := &volumes{
		claims: e.indexer(claimsResource), volumes: e.indexer(volumesResource), classes: e.indexer(classesResource),
		nodes: e.indexer(nodesResource), pods: e.indexer(podsResource), unused: newSince(),
	}
	c.loop = &loop[volumeKey]{
		env: e, title: "volume", workers: volumeWorkers, reconcile: c.step,
		sources: []source[volumeKey]{
			{gvr: claimsResource, handle: c.onClaim},
			{gvr: volumesResource, handle: c.onVolume},
			{gvr: classesResource, handle: func(change) { c.addPending() }},
			{gvr: podsResource, handle: c.onPod},
			{gvr: nodesResource, handle: c.onNode},
		},
	}
	return c, nil
}

func (c *volumes) onClaim(ch change) {
	claim := ch.object().(*corev1.PersistentVolumeClaim)
	c.add(volumeKey{keyOf(claim)})
	if claim.Spec.VolumeName != "" {
		c.add(volumeKey{types.NamespacedName{Name: claim.Spec.VolumeName}})
	}
	if ch.new == nil { // volumes that were made for it, or name it
		for _, v := range list[*corev1.PersistentVolume](c.volumes) {
			if ref := v.Spec.ClaimRef; ref != nil && ref.Namespace == claim.Namespace && ref.Name == claim.Name {
				c.add(volumeKey{keyOf(v)})
			}
		}
	}
}

func (c *volumes) onVolume(ch change) {
	v := ch.object().(*corev1.PersistentVolume)
	c.add(volumeKey{keyOf(v)})
	if ref := v.Spec.ClaimRef; ref != nil {
		c.add(volumeKey{types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}})
		return
	}
	if ch.new != nil && v.Status.Phase == corev1.VolumeAvailable {
		c.addPending()
	}
}

// addPending has all claims looked at that have no volume.
func (c *volumes) addPending() {
	for _, claim := range list[*corev1.PersistentVolumeClaim](c.claims) {
		if claim.Spec.VolumeName == "" {
			c.add(volumeKey{keyOf(claim)})
		}
	}
}

// onNode has claims looked at whose volumes were to be on a node that has gone.
func (c *volumes) onNode(ch change) {
	if ch.new != nil {
		return
	}
	for _, claim := range list[*corev1.PersistentVolumeClaim](c.claims) {
		if claim.Spec.VolumeName == "" && claim.Annotations[helpers.AnnSelectedNode] == ch.old.GetName() {
			c.add(volumeKey{keyOf(claim)})
		}
	}
}

// onPod has claims looked at that wait for the last of their pods.
func (c *volumes) onPod(ch change) {
	keys, _ := byClaims(ch.object())
	for _, key := range keys {
		if claim, ok := c.claim(key); ok && claim.DeletionTimestamp != nil {
			c.add(volumeKey{keyOf(claim)})
		}
	}
	if ch.old == nil && ch.new != nil {
		c.addEphemeral(ch.new)
	}
}

func (c *volumes) claim(key string) (*corev1.PersistentVolumeClaim, bool) {
	found, ok, err := c.claims.GetByKey(key)
	if err != nil || !ok {
		return nil, false
	}
	claim, ok := found.(*corev1.PersistentVolumeClaim)
	return claim, ok
}

// step takes one claim or volume a step further.
func (c *volumes) step(ctx context.Context, key volumeKey) (time.Duration, error) {
	if key.Namespace == "" {
		v, ok := lookup[*corev1.PersistentVolume](c.volumes, key.NamespacedName)
		if !ok {
			return 0, nil
		}
		return 0, c.stepVolume(ctx, v)
	}
	claim, ok := lookup[*corev1.PersistentVolumeClaim](c.claims, key.NamespacedName)
	if !ok {
		return 0, c.makeEphemeral(ctx, key.NamespacedName)
	}
	return c.stepClaim(ctx, claim)
}

// class is the storage class of a claim; nil when it has none or names one that is not there.
func (c *volumes) class(claim *corev1.PersistentVolumeClaim) *storagev1.StorageClass {
	name := helpers.GetPersistentVolumeClaimClass(claim)
	class, _ := lookup[*storagev1.StorageClass](c.classes, types.NamespacedName{Name: name})
	return class
}

// byDefault is the class for claims that name none: of several marked ones the newest.
func (c *volumes) byDefault() *storagev1.StorageClass {
	var best *storagev1.StorageClass
	for _, class := range list[*storagev1.StorageClass](c.classes) {
		if class.Annotations[defaultClass] != "true" {
			continue
		}
		if best == nil || best.CreationTimestamp.Before(&class.CreationTimestamp) ||
			best.CreationTimestamp.Equal(&class.CreationTimestamp) && class.Name < best.Name {
			best = class
		}
	}
	return best
}

// delayed tells whether a class's claims are bound when a pod needs them, so that the volume is where the pod runs.
func delayed(class *storagev1.StorageClass) bool {
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// finalized returns a copy with the finalizer; false when it is there already.
func finalized[T api.Object](obj T, name string) (T, bool) {
	if slices.Contains(obj.GetFinalizers(), name) {
		return obj, false
	}
	changed := obj.DeepCopyObject().(T)
	changed.SetFinalizers(append(changed.GetFinalizers(), name))
	return changed, true
}

// unfinalized returns a copy without it; false when it is not there.
func unfinalized[T api.Object](obj T, name string) (T, bool) {
	at := slices.Index(obj.GetFinalizers(), name)
	if at < 0 {
		return obj, false
	}
	changed := obj.DeepCopyObject().(T)
	changed.SetFinalizers(slices.Delete(changed.GetFinalizers(), at, at+1))
	return changed, true
}
