package worker

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func owned(name, owner string) *corev1.Pod {
	p := testPod(name, "idle")
	p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: owner, UID: types.UID(owner), Controller: ptr.To(true)}}
	p.Labels, p.Annotations = map[string]string{"app": owner}, map[string]string{"a": "b"}
	return p
}

func TestPodsOfOneOwnerShare(t *testing.T) {
	var s sharer
	first, second := owned("a", "rs"), owned("b", "rs")
	want := second.DeepCopy()
	s.share(first)
	s.share(second)
	if !equality.Semantic.DeepEqual(second, want) {
		t.Errorf("sharing changed %+v to %+v", want, second)
	}
	if &first.Spec.Containers[0] != &second.Spec.Containers[0] || &first.OwnerReferences[0] != &second.OwnerReferences[0] {
		t.Error("equal specs are not shared")
	}
	first.Labels["x"], first.Annotations["x"] = "y", "y"
	if second.Labels["x"] != "y" || second.Annotations["x"] != "y" {
		t.Error("equal labels or annotations are not shared")
	}
	for name, change := range map[string]func(*corev1.Pod){
		"image":      func(p *corev1.Pod) { p.Spec.Containers[0].Image = "other" },
		"label":      func(p *corev1.Pod) { p.Labels["app"] = "other" },
		"annotation": func(p *corev1.Pod) { p.Annotations["a"] = "other" },
		"owner":      func(p *corev1.Pod) { p.OwnerReferences[0].Name = "other" },
	} {
		p := owned("c", "rs2")
		s.share(owned("d", "rs2"))
		change(p)
		want := p.DeepCopy()
		s.share(p)
		if !equality.Semantic.DeepEqual(p, want) {
			t.Errorf("%s: sharing changed %+v to %+v", name, want, p)
		}
	}
	s.share(testPod("alone", "idle"))
}

func TestSharingIsBounded(t *testing.T) {
	var s sharer
	for i := range 3 * maxSharedMaps {
		p := owned("a", "rs")
		p.Annotations["n"] = fmt.Sprint(i)
		s.share(p)
	}
	if n := len(s.owners["rs"].annotations); n > maxSharedMaps {
		t.Errorf("%d annotations are kept", n)
	}
	for i := range maxShared + 10 {
		s.share(owned("a", fmt.Sprint("rs", i)))
	}
	if len(s.owners) > maxShared {
		t.Errorf("%d owners are kept", len(s.owners))
	}
}
