package controller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// attachWorkers is how many volumes are worked on at once.
const attachWorkers = 2

// indexVolume finds VolumeAttachments by the volume that they attach.
const indexVolume = "petrel.run/volume"

// attachKey is a volume on a node.
type attachKey struct{ volume, node string }

// attachments says by VolumeAttachments which CSI volumes are to be attached to which nodes; the drivers' own attachers do
// it. A volume stays attached as long as there is a pod on the node that has it: a pod leaves the API only after its
// node has unmounted what it had. What the node still says to have in use, of pods deleted by force, stays as well.
type attachments struct {
	*loop[attachKey]
	claims, volumes, drivers, pods, objects, nodes cache.Indexer
}

func newAttachments(e *env) (controller, error) {
	if err := e.addIndexers(podsResource, cache.Indexers{indexClaims: byClaims}); err != nil {
		return nil, err
	}
	if err := e.addIndexers(attachmentsResource, cache.Indexers{indexVolume: byVolume}); err != nil {
		return nil, err
	}
	c := &attachments{
		claims: e.indexer(claimsResource), volumes: e.indexer(volumesResource), drivers: e.indexer(csiDriversResource),
		pods: e.indexer(podsResource), objects: e.indexer(attachmentsResource), nodes: e.indexer(nodesResource),
	}
	c.loop = &loop[attachKey]{
		env: e, title: "attach", workers: attachWorkers, reconcile: c.step,
		sources: []source[attachKey]{
			{gvr: podsResource, handle: c.onPod},
			{gvr: volumesResource, handle: func(ch change) { c.addVolume(ch.object().(*corev1.PersistentVolume)) }},
			{gvr: attachmentsResource, handle: c.onAttachment},
			{gvr: csiDriversResource, handle: c.onDriver},
			{gvr: nodesResource, handle: c.onNode},
		},
		also: []schema.GroupVersionResource{claimsResource},
	}
	return c, nil
}

// byVolume is the index function of indexVolume.
func byVolume(obj any) ([]string, error) {
	if a, ok := obj.(*storagev1.VolumeAttachment); ok && a.Spec.Source.PersistentVolumeName != nil {
		return []string{*a.Spec.Source.PersistentVolumeName}, nil
	}
	return nil, nil
}

// onPod looks at a pod's volumes when it has come to a node or left it.
func (c *attachments) onPod(ch change) {
	pod := ch.object().(*corev1.Pod)
	if pod.Spec.NodeName == "" {
		return
	}
	if was, ok := ch.old.(*corev1.Pod); ok && ch.new != nil && was.Spec.NodeName == pod.Spec.NodeName {
		return
	}
	keys, _ := byClaims(pod)
	for _, key := range keys {
		found, ok, err := c.claims.GetByKey(key)
		if claim, is := found.(*corev1.PersistentVolumeClaim); err == nil && ok && is && claim.Spec.VolumeName != "" {
			c.add(attachKey{claim.Spec.VolumeName, pod.Spec.NodeName})
		}
	}
}

// addVolume looks at a volume on every node where it is or is to be.
func (c *attachments) addVolume(v *corev1.PersistentVolume) {
	if v.Spec.CSI == nil {
		return
	}
	for _, pod := range c.users(v) {
		c.add(attachKey{v.Name, pod.Spec.NodeName})
	}
	for _, a := range byIndex[*storagev1.VolumeAttachment](c.objects, indexVolume, v.Name) {
		c.add(attachKey{v.Name, a.Spec.NodeName})
	}
}

// onAttachment follows also that a volume has become free for another node.
func (c *attachments) onAttachment(ch change) {
	a := ch.object().(*storagev1.VolumeAttachment)
	name := ptr.Deref(a.Spec.Source.PersistentVolumeName, "")
	c.add(attachKey{name, a.Spec.NodeName})
	if v, ok := lookup[*corev1.PersistentVolume](c.volumes, types.NamespacedName{Name: name}); ok && ch.new == nil {
		c.addVolume(v)
	}
}

func (c *attachments) onDriver(ch change) {
	for _, v := range list[*corev1.PersistentVolume](c.volumes) {
		if v.Spec.CSI != nil && v.Spec.CSI.Driver == ch.object().GetName() {
			c.addVolume(v)
		}
	}
}

// onNode looks at what is attached to a node that has let go of a volume, has gone, or has come or ceased to be there.
func (c *attachments) onNode(ch change) {
	node, old := ch.new, ch.old
	if a, ok := node.(*corev1.Node); ok {
		if b, ok := old.(*corev1.Node); ok && slices.Equal(a.Status.VolumesInUse, b.Status.VolumesInUse) && len(a.Spec.Taints) == len(b.Spec.Taints) {
			return
		}
	}
	for _, a := range list[*storagev1.VolumeAttachment](c.objects) {
		if a.Spec.NodeName == ch.object().GetName() {
			c.add(attachKey{ptr.Deref(a.Spec.Source.PersistentVolumeName, ""), a.Spec.NodeName})
		}
	}
}

// users are the pods on nodes that have the volume.
func (c *attachments) users(v *corev1.PersistentVolume) []*corev1.Pod {
	if v.Spec.ClaimRef == nil {
		return nil
	}
	pods := byIndex[*corev1.Pod](c.pods, indexClaims, v.Spec.ClaimRef.Namespace+"/"+v.Spec.ClaimRef.Name)
	return slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return p.Spec.NodeName == "" })
}

// step has one volume attached to one node, or no longer.
func (c *attachments) step(ctx context.Context, key attachKey) (time.Duration, error) {
	have := byIndex[*storagev1.VolumeAttachment](c.objects, indexVolume, key.volume)
	v, ok := lookup[*corev1.PersistentVolume](c.volumes, types.NamespacedName{Name: key.volume})
	var user *corev1.Pod
	if ok && c.attaches(v) {
		users := c.users(v)
		if at := slices.IndexFunc(users, func(p *corev1.Pod) bool { return p.Spec.NodeName == key.node }); at >= 0 {
			user = users[at]
		}
	}
	at := slices.IndexFunc(have, func(a *storagev1.VolumeAttachment) bool { return a.Spec.NodeName == key.node })
	switch {
	case user != nil && at < 0:
		return 0, c.attach(ctx, v, user, have)
	case user == nil && at >= 0 && have[at].DeletionTimestamp == nil:
		node, _ := lookup[*corev1.Node](c.nodes, types.NamespacedName{Name: key.node})
		if wait := held(node, have[at], c.env.Clock.Now()); wait > 0 {
			return wait, nil
		}
		return 0, c.detach(ctx, have[at])
	}
	return 0, nil
}

// attaches tells whether a volume is attached before it is mounted; so it is unless its driver says otherwise.
func (c *attachments) attaches(v *corev1.PersistentVolume) bool {
	if v.Spec.CSI == nil {
		return false
	}
	driver, ok := lookup[*storagev1.CSIDriver](c.drivers, types.NamespacedName{Name: v.Spec.CSI.Driver})
	return !ok || ptr.Deref(driver.Spec.AttachRequired, true)
}

func (c *attachments) attach(ctx context.Context, v *corev1.PersistentVolume, user *corev1.Pod, have []*storagev1.VolumeAttachment) error {
	if len(have) > 0 && !shared(v) {
		c.env.warn(user, "FailedAttachVolume", "Multi-Attach error for volume %q: it is attached to node %s and cannot be attached to another", v.Name, have[0].Spec.NodeName)
		return nil // when it is free there it comes here again
	}
	made := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: attachmentName(v.Spec.CSI.VolumeHandle, v.Spec.CSI.Driver, user.Spec.NodeName)},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: v.Spec.CSI.Driver, NodeName: user.Spec.NodeName, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &v.Name},
		},
	}
	_, err := c.env.Client.Create(ctx, made)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (c *attachments) detach(ctx context.Context, a *storagev1.VolumeAttachment) error {
	err := c.env.Client.Delete(ctx, named(a), metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(a.UID))})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// shared tells whether a volume may be on several nodes.
func shared(v *corev1.PersistentVolume) bool {
	return slices.ContainsFunc(v.Spec.AccessModes, func(m corev1.PersistentVolumeAccessMode) bool {
		return m == corev1.ReadWriteMany || m == corev1.ReadOnlyMany
	})
}

// attachmentName is the name by which nodes look for the attachment, as Kubernetes' tools make it.
func attachmentName(handle, driver, node string) string {
	sum := sha256.Sum256([]byte(handle + driver + node))
	return fmt.Sprintf("csi-%s", hex.EncodeToString(sum[:]))
}
