package controller

import (
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	helpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

// localPath makes volumes that are directories on the node where the claim's first pod is to run. The node makes the
// directory when a pod mounts it, and removes it when the volume is deleted: until then the volume keeps a finalizer.
type localPath struct {
	*loop[volumeKey]
	claims, volumes, classes, nodes cache.Indexer
}

func newLocalPath(e *env) (controller, error) {
	c := &localPath{
		claims: e.indexer(claimsResource), volumes: e.indexer(volumesResource), classes: e.indexer(classesResource),
		nodes: e.indexer(nodesResource),
	}
	c.loop = &loop[volumeKey]{
		env: e, title: "local-path", workers: 1, reconcile: c.step,
		sources: []source[volumeKey]{
			{gvr: claimsResource, handle: func(ch change) { c.add(volumeKey{keyOf(ch.object())}) }},
			{gvr: volumesResource, handle: func(ch change) { c.add(volumeKey{keyOf(ch.object())}) }},
			{gvr: nodesResource, handle: c.onNode},
		},
		also: []schema.GroupVersionResource{classesResource},
	}
	return c, nil
}

// onNode looks at what waits for a node to say where its volumes are, or to come back and remove them.
func (c *localPath) onNode(ch change) {
	if ch.old != nil && ch.new != nil && ch.old.GetAnnotations()[api.LocalPathAnnotation] == ch.new.GetAnnotations()[api.LocalPathAnnotation] {
		return // a heartbeat
	}
	for _, claim := range list[*corev1.PersistentVolumeClaim](c.claims) {
		if claim.Annotations[helpers.AnnSelectedNode] == ch.object().GetName() && claim.Spec.VolumeName == "" {
			c.add(volumeKey{keyOf(claim)})
		}
	}
	if ch.new == nil {
		for _, v := range list[*corev1.PersistentVolume](c.volumes) {
			c.add(volumeKey{keyOf(v)})
		}
	}
}

func (c *localPath) step(ctx context.Context, key volumeKey) (time.Duration, error) {
	if key.Namespace == "" {
		v, ok := lookup[*corev1.PersistentVolume](c.volumes, key.NamespacedName)
		if !ok || v.Annotations[helpers.AnnDynamicallyProvisioned] != api.LocalPathProvisioner {
			return 0, nil
		}
		return 0, c.retire(ctx, v)
	}
	claim, ok := lookup[*corev1.PersistentVolumeClaim](c.claims, key.NamespacedName)
	if !ok || claim.DeletionTimestamp != nil || claim.Spec.VolumeName != "" || claim.Annotations[helpers.AnnStorageProvisioner] != api.LocalPathProvisioner {
		return 0, nil
	}
	return 0, c.provision(ctx, claim)
}

// provision makes a volume for a claim. Its name is of the claim's UID, so that there is never a second one.
func (c *localPath) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	class, ok := lookup[*storagev1.StorageClass](c.classes, types.NamespacedName{Name: helpers.GetPersistentVolumeClaimClass(claim)})
	if !ok || class.Provisioner != api.LocalPathProvisioner {
		return nil
	}
	if why := unservedByLocalPath(claim, class); why != "" {
		c.env.warn(claim, "ProvisioningFailed", "%s", why)
		return nil
	}
	node, ok := lookup[*corev1.Node](c.nodes, types.NamespacedName{Name: claim.Annotations[helpers.AnnSelectedNode]})
	if !ok {
		return nil // the controller of claims lets it choose another
	}
	dir, host := node.Annotations[api.LocalPathAnnotation], node.Labels[corev1.LabelHostname]
	if !path.IsAbs(dir) || host == "" {
		c.env.warn(claim, "ProvisioningFailed", "node %s does not say where its local volumes are", node.Name)
		return nil
	}
	v := localVolume(claim, class, path.Join(dir, volumeName(claim)), host)
	if _, exists := lookup[*corev1.PersistentVolume](c.volumes, types.NamespacedName{Name: v.Name}); exists {
		return nil
	}
	if _, err := c.env.Client.Create(ctx, v); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return fmt.Errorf("create volume: %w", err)
	}
	c.env.event(claim, "ProvisioningSucceeded", "Successfully provisioned volume %s", v.Name)
	return nil
}

func volumeName(claim *corev1.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

// unservedByLocalPath says what of a claim a directory on one node cannot be; empty when it can all.
func unservedByLocalPath(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) string {
	switch {
	case ptr.Deref(claim.Spec.VolumeMode, corev1.PersistentVolumeFilesystem) == corev1.PersistentVolumeBlock:
		return "local volumes are directories: volumeMode Block is not supported"
	case claim.Spec.DataSource != nil || claim.Spec.DataSourceRef != nil:
		return "local volumes begin empty: a data source is not supported"
	case claim.Spec.Selector != nil:
		return "claim.spec.selector is not supported for dynamic provisioning"
	case !delayed(class):
		return "local volumes are made where their pod runs: their storage class needs volumeBindingMode WaitForFirstConsumer"
	}
	for _, mode := range claim.Spec.AccessModes {
		if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
			return fmt.Sprintf("local volumes are on one node: access mode %s is not supported, only ReadWriteOnce and ReadWriteOncePod", mode)
		}
	}
	return ""
}

func localVolume(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, dir, host string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: volumeName(claim), Annotations: map[string]string{helpers.AnnDynamicallyProvisioned: api.LocalPathProvisioner},
			Finalizers: []string{volumeProtection, api.LocalPathFinalizer},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes: claim.Spec.AccessModes, VolumeMode: ptr.To(corev1.PersistentVolumeFilesystem),
			StorageClassName: class.Name, PersistentVolumeReclaimPolicy: ptr.Deref(class.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete),
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{host}}},
			}}}},
		},
	}
}

// retire deletes a volume whose claim has gone, and lets it go when its node, which would remove the directory, is no
// more.
func (c *localPath) retire(ctx context.Context, v *corev1.PersistentVolume) error {
	if v.DeletionTimestamp == nil {
		if v.Status.Phase != corev1.VolumeReleased || v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
			return nil
		}
		err := c.env.Client.Delete(ctx, named(v), metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(v.UID))})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	changed, held := unfinalized(v, api.LocalPathFinalizer)
	if !held || slices.ContainsFunc(list[*corev1.Node](c.nodes), func(n *corev1.Node) bool { return helpers.CheckNodeAffinity(v, n.Labels) == nil }) {
		return nil
	}
	c.env.Logger.Warn("the directory of a volume is left on a node that has gone", "volume", v.Name)
	_, err := c.env.Client.Update(ctx, changed)
	return err
}
