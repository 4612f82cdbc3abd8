package storetest

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/petrelrun/petrel/controlplane/store"
)

// The kinds that the suite keeps: one kept as protobuf, one with selectable fields, one without a namespace, and one
// whose type knows no protobuf.
var (
	ConfigMaps = &store.Resource{
		GVR: corev1.SchemeGroupVersion.WithResource("configmaps"), GVK: corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		Namespaced: true, New: func() runtime.Object { return &corev1.ConfigMap{} },
	}
	Pods = &store.Resource{
		GVR: corev1.SchemeGroupVersion.WithResource("pods"), GVK: corev1.SchemeGroupVersion.WithKind("Pod"),
		Namespaced: true, New: func() runtime.Object { return &corev1.Pod{} },
		Fields: func(o runtime.Object) fields.Set { return fields.Set{"spec.nodeName": o.(*corev1.Pod).Spec.NodeName} },
	}
	Nodes = &store.Resource{
		GVR: corev1.SchemeGroupVersion.WithResource("nodes"), GVK: corev1.SchemeGroupVersion.WithKind("Node"),
		New: func() runtime.Object { return &corev1.Node{} },
	}
	Notes = &store.Resource{
		GVR: noteVersion.WithResource("notes"), GVK: noteVersion.WithKind("Note"),
		Namespaced: true, New: func() runtime.Object { return &Note{} },
	}
)

var noteVersion = schema.GroupVersion{Group: "storetest.petrel.run", Version: "v1"}

// Resources are all kinds of the suite.
func Resources() []*store.Resource { return []*store.Resource{ConfigMaps, Pods, Nodes, Notes} }

// Note is an API type that is kept as JSON.
type Note struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Text              string `json:"text,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (n *Note) DeepCopyObject() runtime.Object {
	c := &Note{TypeMeta: n.TypeMeta, Text: n.Text}
	n.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return c
}

func configMap(namespace, name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{"value": value},
	}
}

func labelled(cm *corev1.ConfigMap, key, value string) *corev1.ConfigMap {
	cm.Labels = map[string]string{key: value}
	return cm
}

func pod(namespace, name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{NodeName: node},
	}
}

// space is a namespace that no other test uses.
func space(name string) string {
	return strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(name))
}
