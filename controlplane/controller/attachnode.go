package controller

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

const (
	// silentFor is how long a node has to be away before what it said to have mounted is detached all the same, as in
	// Kubernetes: a volume that is written to by two nodes is lost.
	silentFor = 6 * time.Minute
	// uniquePrefix begins the names of CSI volumes in the status of nodes: uniquePrefix, driver, ^, handle.
	uniquePrefix = "kubernetes.io/csi/"
)

// indexAttachedNode finds VolumeAttachments by their node.
const indexAttachedNode = "petrel.run/attached-node"

func byAttachedNode(obj any) ([]string, error) {
	if a, ok := obj.(*storagev1.VolumeAttachment); ok {
		return []string{a.Spec.NodeName}, nil
	}
	return nil, nil
}

// held tells for how long at the most a volume has to stay attached though no pod object of its node has it: the node says
// that it has it mounted, of a pod that was deleted by force. 0: it need not.
func held(node *corev1.Node, a *storagev1.VolumeAttachment, now time.Time) time.Duration {
	if node == nil || !slices.ContainsFunc(node.Status.VolumesInUse, func(name corev1.UniqueVolumeName) bool {
		driver, handle, ok := strings.Cut(strings.TrimPrefix(string(name), uniquePrefix), "^")
		return ok && a.Name == attachmentName(handle, driver, node.Name)
	}) {
		return 0
	}
	if slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService }) {
		return 0
	}
	ready := nodeCondition(node, corev1.NodeReady)
	if ready == nil || ready.Status == corev1.ConditionTrue {
		return silentFor // it is looked at again when the node says more
	}
	return max(0, silentFor-now.Sub(ready.LastTransitionTime.Time))
}

// attachedVolumes says in the status of nodes what is attached to them.
type attachedVolumes struct {
	*loop[string]
	nodes, volumes, objects cache.Indexer
}

func newAttachedVolumes(e *env) (controller, error) {
	if err := e.addIndexers(attachmentsResource, cache.Indexers{indexAttachedNode: byAttachedNode}); err != nil {
		return nil, err
	}
	c := &attachedVolumes{nodes: e.indexer(nodesResource), volumes: e.indexer(volumesResource), objects: e.indexer(attachmentsResource)}
	c.loop = &loop[string]{
		env: e, title: "attached-volumes", workers: attachWorkers, reconcile: c.step,
		sources: []source[string]{
			{gvr: attachmentsResource, handle: func(ch change) { c.add(ch.object().(*storagev1.VolumeAttachment).Spec.NodeName) }},
			{gvr: nodesResource, handle: c.onNode},
			{gvr: volumesResource, handle: func(ch change) {
				for _, a := range list[*storagev1.VolumeAttachment](c.objects) {
					if ptr.Deref(a.Spec.Source.PersistentVolumeName, "") == ch.object().GetName() {
						c.add(a.Spec.NodeName)
					}
				}
			}},
		},
	}
	return c, nil
}

// onNode looks at a node that is new, or whose list was changed by somebody else.
func (c *attachedVolumes) onNode(ch change) {
	node, ok := ch.new.(*corev1.Node)
	if !ok {
		return
	}
	if old, ok := ch.old.(*corev1.Node); ok && equality.Semantic.DeepEqual(old.Status.VolumesAttached, node.Status.VolumesAttached) {
		return
	}
	c.add(node.Name)
}

func (c *attachedVolumes) step(ctx context.Context, name string) (time.Duration, error) {
	node, ok := lookup[*corev1.Node](c.nodes, types.NamespacedName{Name: name})
	if !ok {
		return 0, nil
	}
	var want []corev1.AttachedVolume
	for _, a := range byIndex[*storagev1.VolumeAttachment](c.objects, indexAttachedNode, name) {
		v, ok := lookup[*corev1.PersistentVolume](c.volumes, types.NamespacedName{Name: ptr.Deref(a.Spec.Source.PersistentVolumeName, "")})
		if a.Status.Attached && ok && v.Spec.CSI != nil {
			unique := uniquePrefix + v.Spec.CSI.Driver + "^" + v.Spec.CSI.VolumeHandle
			want = append(want, corev1.AttachedVolume{Name: corev1.UniqueVolumeName(unique)})
		}
	}
	slices.SortFunc(want, func(a, b corev1.AttachedVolume) int { return strings.Compare(string(a.Name), string(b.Name)) })
	if slices.Equal(want, node.Status.VolumesAttached) {
		return 0, nil
	}
	changed := node.DeepCopy()
	changed.Status.VolumesAttached = want
	_, err := c.env.Client.UpdateStatus(ctx, changed)
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	return 0, err
}
