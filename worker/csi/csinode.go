package csi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
)

// tellNode puts a driver on the node's CSINode, and what it says of where the node is on the Node's labels.
func (d *Drivers) tellNode(ctx context.Context, r *driver) error {
	if topology := r.info.GetAccessibleTopology().GetSegments(); len(topology) > 0 {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": topology}})
		if err != nil {
			return fmt.Errorf("encode topology: %w", err)
		}
		if _, err := d.cfg.Client.CoreV1().Nodes().Patch(ctx, d.cfg.NodeName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("label node: %w", err)
		}
	}
	entry := storagev1.CSINodeDriver{
		Name: r.name, NodeID: r.info.GetNodeId(), TopologyKeys: slices.Sorted(maps.Keys(r.info.GetAccessibleTopology().GetSegments())),
	}
	if n := r.info.GetMaxVolumesPerNode(); n > 0 {
		entry.Allocatable = &storagev1.VolumeNodeResources{Count: ptr.To(int32(min(n, 1<<30)))}
	}
	return d.changeNode(ctx, func(have []storagev1.CSINodeDriver) []storagev1.CSINodeDriver {
		return append(without(have, r.name), entry)
	})
}

// untellNode takes a driver off again.
func (d *Drivers) untellNode(ctx context.Context, name string) error {
	return d.changeNode(ctx, func(have []storagev1.CSINodeDriver) []storagev1.CSINodeDriver { return without(have, name) })
}

func without(have []storagev1.CSINodeDriver, name string) []storagev1.CSINodeDriver {
	return slices.DeleteFunc(slices.Clone(have), func(e storagev1.CSINodeDriver) bool { return e.Name == name })
}

// changeNode changes the drivers of the node's CSINode, which it makes if there is none.
func (d *Drivers) changeNode(ctx context.Context, change func([]storagev1.CSINodeDriver) []storagev1.CSINodeDriver) error {
	nodes := d.cfg.Client.StorageV1().CSINodes()
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		ctx, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		have, err := nodes.Get(ctx, d.cfg.NodeName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return d.makeNode(ctx, change(nil))
		}
		if err != nil {
			return fmt.Errorf("get CSINode: %w", err)
		}
		changed := have.DeepCopy()
		changed.Spec.Drivers = change(have.Spec.Drivers)
		if equality.Semantic.DeepEqual(have.Spec.Drivers, changed.Spec.Drivers) {
			return nil
		}
		_, err = nodes.Update(ctx, changed, metav1.UpdateOptions{})
		return err
	})
}

func (d *Drivers) makeNode(ctx context.Context, drivers []storagev1.CSINodeDriver) error {
	node, err := d.cfg.Client.CoreV1().Nodes().Get(ctx, d.cfg.NodeName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("get node: %w", err)
	}
	made := &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: d.cfg.NodeName, OwnerReferences: []metav1.OwnerReference{{
			APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Node", Name: node.Name, UID: node.UID,
		}}},
		Spec: storagev1.CSINodeSpec{Drivers: drivers},
	}
	if _, err := d.cfg.Client.StorageV1().CSINodes().Create(ctx, made, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create CSINode: %w", err)
	}
	return nil
}
