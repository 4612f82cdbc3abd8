package join

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
)

// ownMirror lets a node create one kind of pod: the picture of a static one, which it runs from a file of its own. Such a pod
// must not be a way to come by what only the pods that are bound to the node may have.
func ownMirror(node string, pod *corev1.Pod) error {
	switch {
	case pod == nil || pod.Annotations[corev1.MirrorPodAnnotationKey] == "":
		return errors.New("pods are not a node's to create, but for mirrors of its static ones")
	case pod.Spec.NodeName != node:
		return errors.New("the pod is not bound to the node")
	case pod.Spec.ServiceAccountName != "" && pod.Spec.ServiceAccountName != "default":
		return errors.New("a mirror pod cannot have a service account")
	}
	for _, owner := range pod.OwnerReferences {
		if owner.Kind != "Node" || owner.APIVersion != "v1" || owner.Name != node {
			return errors.New("a mirror pod cannot be anybody's but its node's")
		}
	}
	uses, err := usesOf(pod)
	if err != nil {
		return err
	}
	if len(uses) > 0 {
		return errors.New("a mirror pod cannot refer to Secrets, ConfigMaps or claims")
	}
	return nil
}
