package join

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// indexUses finds pods by what they use: "node/resource/namespace/name".
const indexUses = "petrel.run/uses"

func useKey(node, resource, namespace, name string) string {
	return node + "/" + resource + "/" + namespace + "/" + name
}

// NodeReads tells whether a pod of the node uses the Secret, ConfigMap or claim, for auth.Members. The node may have heard of
// its pod a moment before this cache has, so a no takes a while.
func (c *Controller) NodeReads(ctx context.Context, node, resource, namespace, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, podPatience)
	defer cancel()
	for {
		if c.uses(node, resource, namespace, name) || resource == secretsResource.Resource && c.mounts(node, namespace, name) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(podPoll):
		}
	}
}

func (c *Controller) uses(node, resource, namespace, name string) bool {
	pods, err := c.pods.GetIndexer().IndexKeys(indexUses, useKey(node, resource, namespace, name))
	return err == nil && len(pods) > 0
}

// indexSecrets finds volumes by the secrets with which drivers get at them: "namespace/name".
const indexSecrets = "petrel.run/csi-secrets"

// mounts tells whether a secret is for the driver of a volume whose claim a pod of the node uses.
func (c *Controller) mounts(node, namespace, name string) bool {
	volumes, err := c.volumes.GetIndexer().ByIndex(indexSecrets, namespace+"/"+name)
	return err == nil && slices.ContainsFunc(volumes, func(obj any) bool {
		v, ok := obj.(*corev1.PersistentVolume)
		return ok && v.Spec.ClaimRef != nil && c.uses(node, "persistentvolumeclaims", v.Spec.ClaimRef.Namespace, v.Spec.ClaimRef.Name)
	})
}

// secretsOf lists the secrets that a volume's driver is told on nodes.
func secretsOf(obj any) ([]string, error) {
	v, ok := obj.(*corev1.PersistentVolume)
	if !ok || v.Spec.CSI == nil {
		return nil, nil
	}
	var keys []string
	for _, ref := range []*corev1.SecretReference{v.Spec.CSI.NodeStageSecretRef, v.Spec.CSI.NodePublishSecretRef, v.Spec.CSI.NodeExpandSecretRef} {
		if ref != nil {
			keys = append(keys, ref.Namespace+"/"+ref.Name)
		}
	}
	return keys, nil
}

// usesOf lists the Secrets, ConfigMaps and claims that a bound pod names.
func usesOf(obj any) ([]string, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return nil, nil
	}
	var keys []string
	add := func(resource, name string) {
		if name != "" {
			keys = append(keys, useKey(pod.Spec.NodeName, resource, pod.Namespace, name))
		}
	}
	for i := range pod.Spec.ImagePullSecrets {
		add("secrets", pod.Spec.ImagePullSecrets[i].Name)
	}
	for i := range pod.Spec.Volumes {
		usesOfVolume(pod, &pod.Spec.Volumes[i], add)
	}
	for i := range pod.Spec.InitContainers {
		usesOfContainer(pod.Spec.InitContainers[i].Env, pod.Spec.InitContainers[i].EnvFrom, add)
	}
	for i := range pod.Spec.Containers {
		usesOfContainer(pod.Spec.Containers[i].Env, pod.Spec.Containers[i].EnvFrom, add)
	}
	for i := range pod.Spec.EphemeralContainers {
		usesOfContainer(pod.Spec.EphemeralContainers[i].Env, pod.Spec.EphemeralContainers[i].EnvFrom, add)
	}
	return keys, nil
}

func usesOfVolume(pod *corev1.Pod, v *corev1.Volume, add func(resource, name string)) {
	if v.PersistentVolumeClaim != nil {
		add("persistentvolumeclaims", v.PersistentVolumeClaim.ClaimName)
	}
	if v.Ephemeral != nil {
		add("persistentvolumeclaims", pod.Name+"-"+v.Name)
	}
	if v.CSI != nil && v.CSI.NodePublishSecretRef != nil {
		add("secrets", v.CSI.NodePublishSecretRef.Name)
	}
	if v.Secret != nil {
		add("secrets", v.Secret.SecretName)
	}
	if v.ConfigMap != nil {
		add("configmaps", v.ConfigMap.Name)
	}
	if v.Projected == nil {
		return
	}
	for _, s := range v.Projected.Sources {
		if s.Secret != nil {
			add("secrets", s.Secret.Name)
		}
		if s.ConfigMap != nil {
			add("configmaps", s.ConfigMap.Name)
		}
	}
}

func usesOfContainer(env []corev1.EnvVar, from []corev1.EnvFromSource, add func(resource, name string)) {
	for _, e := range env {
		if e.ValueFrom == nil {
			continue
		}
		if ref := e.ValueFrom.SecretKeyRef; ref != nil {
			add("secrets", ref.Name)
		}
		if ref := e.ValueFrom.ConfigMapKeyRef; ref != nil {
			add("configmaps", ref.Name)
		}
	}
	for _, f := range from {
		if f.SecretRef != nil {
			add("secrets", f.SecretRef.Name)
		}
		if f.ConfigMapRef != nil {
			add("configmaps", f.ConfigMapRef.Name)
		}
	}
}
