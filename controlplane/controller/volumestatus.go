package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	helpers "k8s.io/component-helpers/storage/volume"
)

// stepVolume keeps a volume's phase.
func (c *volumes) stepVolume(ctx context.Context, v *corev1.PersistentVolume) error {
	if v.DeletionTimestamp != nil {
		return c.letVolumeGo(ctx, v)
	}
	if changed, missing := finalized(v, volumeProtection); missing {
		_, err := c.env.Client.Update(ctx, changed)
		return err
	}
	ref := v.Spec.ClaimRef
	if ref == nil {
		return c.tellVolume(ctx, v, corev1.VolumeAvailable, "")
	}
	claim, err := c.claimOf(ctx, ref)
	switch {
	case err != nil:
		return err
	case claim == nil && ref.UID == "":
		return c.tellVolume(ctx, v, corev1.VolumeAvailable, "") // kept for a claim that is yet to come
	case claim == nil:
		return c.release(ctx, v)
	case ref.UID == "":
		c.add(volumeKey{keyOf(claim)})
		return c.tellVolume(ctx, v, corev1.VolumeAvailable, "")
	case claim.Spec.VolumeName == "":
		c.add(volumeKey{keyOf(claim)})
		return nil
	case claim.Spec.VolumeName != v.Name:
		return c.unwanted(ctx, v)
	}
	return c.tellVolume(ctx, v, corev1.VolumeBound, "")
}

// letVolumeGo takes the finalizer off a volume that is to be deleted, unless a claim has it.
func (c *volumes) letVolumeGo(ctx context.Context, v *corev1.PersistentVolume) error {
	changed, held := unfinalized(v, volumeProtection)
	if !held {
		return nil
	}
	if v.Spec.ClaimRef != nil && v.Spec.ClaimRef.UID != "" {
		claim, err := c.claimOf(ctx, v.Spec.ClaimRef)
		if err != nil {
			return err
		}
		if claim != nil && claim.Spec.VolumeName == v.Name {
			return nil
		}
	}
	_, err := c.env.Client.Update(ctx, changed)
	return err
}

// claimOf is the claim that a volume refers to; nil when it is gone, of which a fresh look makes sure.
func (c *volumes) claimOf(ctx context.Context, ref *corev1.ObjectReference) (*corev1.PersistentVolumeClaim, error) {
	same := func(claim *corev1.PersistentVolumeClaim) bool { return ref.UID == "" || claim.UID == ref.UID }
	key := types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
	if claim, ok := lookup[*corev1.PersistentVolumeClaim](c.claims, key); ok && same(claim) {
		return claim, nil
	}
	fresh, err := c.env.Client.Get(ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name}})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if claim := fresh.(*corev1.PersistentVolumeClaim); same(claim) {
		return claim, nil
	}
	return nil, nil
}

// release follows the end of a volume's claim. Who made the volume removes it, when that is its policy.
func (c *volumes) release(ctx context.Context, v *corev1.PersistentVolume) error {
	if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		if v.Status.Phase != corev1.VolumeFailed {
			c.env.warn(v, "VolumeFailedRecycle", "volumes are not recycled: use Delete or Retain")
		}
		return c.tellVolume(ctx, v, corev1.VolumeFailed, "volumes are not recycled")
	}
	return c.tellVolume(ctx, v, corev1.VolumeReleased, "")
}

// unwanted follows that a claim has come to have another volume: what this controller gave it is free again.
func (c *volumes) unwanted(ctx context.Context, v *corev1.PersistentVolume) error {
	made := v.Annotations[helpers.AnnDynamicallyProvisioned] != ""
	if made && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		return c.tellVolume(ctx, v, corev1.VolumeReleased, "")
	}
	changed := v.DeepCopy()
	if v.Annotations[helpers.AnnBoundByController] == "" {
		if v.Spec.ClaimRef.UID == "" {
			return nil
		}
		changed.Spec.ClaimRef.UID = "" // its user's wish stays
	} else {
		changed.Spec.ClaimRef = nil
		delete(changed.Annotations, helpers.AnnBoundByController)
	}
	_, err := c.env.Client.Update(ctx, changed)
	return err
}

// tellVolume writes a volume's phase.
func (c *volumes) tellVolume(ctx context.Context, v *corev1.PersistentVolume, phase corev1.PersistentVolumePhase, message string) error {
	if v.Status.Phase == phase && v.Status.Message == message {
		return nil
	}
	changed := v.DeepCopy()
	changed.Status.Phase, changed.Status.Message = phase, message
	_, err := c.env.Client.UpdateStatus(ctx, changed)
	return err
}
