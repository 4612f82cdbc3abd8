package join

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	helpers "k8s.io/component-helpers/storage/volume"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/resource"
)

// restrictedLabel begins labels of nodes by which people keep pods to nodes that they trust.
const restrictedLabel = "node-restriction.kubernetes.io/"

// Restriction is the admission that holds nodes to what is theirs, where the object tells: its own Node and Lease, and
// the pods that are bound to it.
type Restriction struct{}

// Admit implements resource.Admission.
func (Restriction) Admit(_ context.Context, d *resource.Definition, call resource.Call, obj, old runtime.Object) error {
	if call.User == nil {
		return nil
	}
	user := auth.User{Name: call.User.Name, Groups: call.User.Groups}
	node, ok := user.Node()
	if !ok || user.Is(auth.GroupMasters) {
		return nil
	}
	if err := restrict(node, obj, old); err != nil {
		return apierrors.NewForbidden(d.GR(), call.Name, fmt.Errorf("node %q: %w", node, err))
	}
	return nil
}

// restrict looks at a write by its objects; obj is nil for a deletion, old for a creation.
func restrict(node string, obj, old runtime.Object) error {
	known := obj
	if known == nil {
		known = old
	}
	switch known.(type) {
	case *corev1.Node:
		return ownNode(node, as[*corev1.Node](obj), as[*corev1.Node](old))
	case *coordinationv1.Lease:
		if lease := as[*coordinationv1.Lease](known); lease.Name != node {
			return errors.New("the lease is another node's")
		}
	case *storagev1.CSINode:
		if n := as[*storagev1.CSINode](known); n.Name != node {
			return errors.New("the CSINode is another node's")
		}
	case *corev1.PersistentVolume:
		return ownVolume(node, as[*corev1.PersistentVolume](obj), as[*corev1.PersistentVolume](old))
	case *corev1.Pod:
		return ownPod(node, as[*corev1.Pod](obj), as[*corev1.Pod](old))
	}
	return nil
}

func as[T runtime.Object](obj runtime.Object) T {
	t, _ := obj.(T)
	return t
}

func ownNode(node string, obj, old *corev1.Node) error {
	switch {
	case obj == nil:
		return errors.New("nodes are not a node's to delete")
	case obj.Name != node:
		return errors.New("the node is another")
	}
	before := map[string]string{}
	if old != nil {
		before = old.Labels
		if !apiequality.Semantic.DeepEqual(obj.Spec, old.Spec) {
			return errors.New("taints, addresses of pods and whether pods are taken are not the node's own to change")
		}
	}
	if !maps.Equal(restrictedLabels(obj.Labels), restrictedLabels(before)) {
		return errors.New("labels that begin with " + restrictedLabel + " are not the node's own to change")
	}
	return nil
}

func restrictedLabels(labels map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range labels {
		if strings.HasPrefix(k, restrictedLabel) {
			out[k] = v
		}
	}
	return out
}

// ownVolume lets a node do one thing with volumes: let go of a local one of its own that is deleted, when it has removed
// the directory.
func ownVolume(node string, obj, old *corev1.PersistentVolume) error {
	switch {
	case obj == nil || old == nil:
		return errors.New("volumes are not a node's to create or to delete")
	case helpers.CheckNodeAffinity(old, map[string]string{corev1.LabelHostname: node}) != nil || old.Spec.NodeAffinity == nil:
		return errors.New("the volume is not on the node")
	case old.DeletionTimestamp == nil:
		return errors.New("the volume is not deleted")
	}
	want := old.DeepCopy()
	want.Finalizers = slices.DeleteFunc(want.Finalizers, func(f string) bool { return f == api.LocalPathFinalizer })
	if !slices.Equal(want.Finalizers, obj.Finalizers) || !maps.Equal(obj.Labels, old.Labels) || !maps.Equal(obj.Annotations, old.Annotations) ||
		!apiequality.Semantic.DeepEqual(obj.OwnerReferences, old.OwnerReferences) || !apiequality.Semantic.DeepEqual(obj.Spec, old.Spec) {
		return errors.New("of a volume a node may remove its finalizer, and nothing else")
	}
	return nil
}

func ownPod(node string, obj, old *corev1.Pod) error {
	switch {
	case old == nil:
		return ownMirror(node, obj)
	case old.Spec.NodeName != node:
		return errors.New("the pod is not bound to the node")
	case obj == nil:
		return nil
	case obj.Annotations[corev1.MirrorPodAnnotationKey] != old.Annotations[corev1.MirrorPodAnnotationKey]:
		return errors.New("whether a pod is a mirror is not the node's to change")
	case !maps.Equal(obj.Labels, old.Labels):
		return errors.New("a pod's labels say which services it is of: they are not the node's to change")
	case !apiequality.Semantic.DeepEqual(obj.Spec, old.Spec):
		return errors.New("a pod's spec is not the node's to change")
	case !apiequality.Semantic.DeepEqual(obj.OwnerReferences, old.OwnerReferences):
		return errors.New("a pod's owners are not the node's to change")
	}
	return nil
}
