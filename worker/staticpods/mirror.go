package staticpods

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// IsStatic tells a pod that was read from a file.
func IsStatic(p *corev1.Pod) bool {
	return p.Annotations[annotationSource] == fromFile && p.Annotations[AnnotationMirror] == ""
}

// IsMirror tells the API's picture of a static pod.
func IsMirror(p *corev1.Pod) bool { return p.Annotations[AnnotationMirror] != "" }

// Mirrors tells whether a pod of the API is the picture of the static pod as it is now.
func Mirrors(mirror, static *corev1.Pod) bool {
	return mirror.Annotations[AnnotationMirror] == static.Annotations[annotationHash] && mirror.DeletionTimestamp == nil
}

// Mirror is the picture that the API gets of a static pod; nodeUID may be empty.
func Mirror(static *corev1.Pod, nodeUID types.UID) *corev1.Pod {
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: static.Name, Namespace: static.Namespace, Labels: maps.Clone(static.Labels), Annotations: maps.Clone(static.Annotations)},
		Spec:       *static.Spec.DeepCopy(),
	}
	out.Annotations[AnnotationMirror] = static.Annotations[annotationHash]
	if nodeUID != "" {
		yes := true
		out.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: static.Spec.NodeName, UID: nodeUID, Controller: &yes}}
	}
	return out
}
