package controller

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
)

// addEphemeral has the claims made that a pod's generic ephemeral volumes stand for.
func (c *volumes) addEphemeral(obj api.Object) {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.DeletionTimestamp != nil {
		return
	}
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Ephemeral != nil {
			c.add(volumeKey{types.NamespacedName{Namespace: pod.Namespace, Name: claimName(pod, v)}})
		}
	}
}

// makeEphemeral makes a claim that a pod's generic ephemeral volume stands for. The pod owns it: it goes with the pod.
func (c *volumes) makeEphemeral(ctx context.Context, key types.NamespacedName) error {
	for _, pod := range byIndex[*corev1.Pod](c.pods, indexClaims, key.String()) {
		if pod.DeletionTimestamp != nil {
			continue
		}
		for i := range pod.Spec.Volumes {
			v := &pod.Spec.Volumes[i]
			if v.Ephemeral == nil || claimName(pod, v) != key.Name || v.Ephemeral.VolumeClaimTemplate == nil {
				continue
			}
			template := v.Ephemeral.VolumeClaimTemplate.DeepCopy()
			claim := &corev1.PersistentVolumeClaim{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
			claim.Namespace, claim.Name = key.Namespace, key.Name
			claim.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))}
			_, err := c.env.Client.Create(ctx, claim)
			if err != nil && !apierrors.IsAlreadyExists(err) {
				c.env.warn(pod, "FailedCreate", "cannot create PersistentVolumeClaim %s: %v", key.Name, strings.TrimSpace(err.Error()))
				return err
			}
			return nil
		}
	}
	return nil
}
