package staticpods

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// Annotations, as Kubernetes' tools know them.
const (
	annotationSource = "kubernetes.io/config.source"
	annotationHash   = "kubernetes.io/config.hash"
	// AnnotationMirror marks the API's picture of a static pod, with the pod's hash.
	AnnotationMirror = corev1.MirrorPodAnnotationKey
	fromFile         = "file"
)

// staticVersion is the resource version of static pods: each has but one, since another text is another pod.
const staticVersion = "1"

// Decode reads one pod, as YAML or JSON, and makes it the node's.
func Decode(content []byte, node string) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(content, pod); err != nil {
		return nil, fmt.Errorf("read pod: %w", err)
	}
	if pod.APIVersion != "v1" || pod.Kind != "Pod" {
		return nil, fmt.Errorf("read pod: it is a %q of %q: want a Pod of v1", pod.Kind, pod.APIVersion)
	}
	if err := check(pod, node); err != nil {
		return nil, fmt.Errorf("read pod %q: %w", pod.Name, err)
	}
	pod.Name += "-" + node
	if pod.Namespace == "" {
		pod.Namespace = metav1.NamespaceDefault
	}
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
	pod.Spec.NodeName = node
	defaults(&pod.Spec)
	return pod, stamp(pod)
}

// stamp gives the pod the identity that follows from what it is.
func stamp(pod *corev1.Pod) error {
	pod.ObjectMeta = metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, Labels: pod.Labels, Annotations: pod.Annotations}
	text, err := json.Marshal(pod)
	if err != nil {
		return fmt.Errorf("write pod %q: %w", pod.Name, err)
	}
	sum := sha256.Sum256(text)
	hash := hex.EncodeToString(sum[:16])
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[annotationSource], pod.Annotations[annotationHash] = fromFile, hash
	pod.UID, pod.ResourceVersion, pod.Generation = types.UID(hash), staticVersion, 1
	return nil
}

// check refuses what a static pod cannot be, or cannot have.
func check(pod *corev1.Pod, node string) error {
	if errs := validation.IsDNS1123Subdomain(pod.Name + "-" + node); len(errs) > 0 {
		return fmt.Errorf("name: %s", errs[0])
	}
	if errs := validation.IsDNS1123Label(pod.Namespace); pod.Namespace != "" && len(errs) > 0 {
		return fmt.Errorf("namespace %q: %s", pod.Namespace, errs[0])
	}
	spec := &pod.Spec
	switch {
	case spec.NodeName != "" && spec.NodeName != node:
		return fmt.Errorf("it is for the node %q", spec.NodeName)
	case len(spec.Containers) == 0:
		return errors.New("it has no containers")
	case len(spec.EphemeralContainers) > 0:
		return errors.New("ephemeral containers cannot be in a file")
	case pod.Annotations[AnnotationMirror] != "":
		return errors.New("it is a mirror pod")
	}
	seen := map[string]bool{}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		if errs := validation.IsDNS1123Label(c.Name); len(errs) > 0 {
			return fmt.Errorf("container %q: %s", c.Name, errs[0])
		}
		if seen[c.Name] || c.Image == "" {
			return fmt.Errorf("container %q: want a name of its own and an image", c.Name)
		}
		seen[c.Name] = true
	}
	if what := Refers(spec); what != "" {
		return fmt.Errorf("a static pod cannot refer to objects of the API: it has %s", what)
	}
	return nil
}

// Refers names the first thing of the API that the spec refers to; empty for none.
func Refers(spec *corev1.PodSpec) string {
	switch {
	case spec.ServiceAccountName != "" && spec.ServiceAccountName != "default":
		return "a service account"
	case len(spec.ImagePullSecrets) > 0:
		return "pull secrets"
	case len(spec.ResourceClaims) > 0:
		return "resource claims"
	}
	for i := range spec.Volumes {
		if what := source(&spec.Volumes[i].VolumeSource); what != "" {
			return what + " as a volume"
		}
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, from := range c.EnvFrom {
			if from.ConfigMapRef != nil || from.SecretRef != nil {
				return "variables from a config map or a secret"
			}
		}
		for _, v := range c.Env {
			if v.ValueFrom != nil && (v.ValueFrom.ConfigMapKeyRef != nil || v.ValueFrom.SecretKeyRef != nil) {
				return "variables from a config map or a secret"
			}
		}
	}
	return ""
}

// source names what of the API a volume is made from; those that are the machine's own are none.
func source(v *corev1.VolumeSource) string {
	switch {
	case v.EmptyDir != nil || v.HostPath != nil || v.DownwardAPI != nil || v.Image != nil || *v == (corev1.VolumeSource{}):
		return ""
	case v.Projected != nil:
		for _, p := range v.Projected.Sources {
			if p.DownwardAPI == nil {
				return "a projection"
			}
		}
		return ""
	case v.ConfigMap != nil:
		return "a config map"
	case v.Secret != nil:
		return "a secret"
	case v.PersistentVolumeClaim != nil || v.Ephemeral != nil:
		return "a claim"
	default:
		return "a kind of source that may need a secret"
	}
}
