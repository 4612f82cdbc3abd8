package controller

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func csiVolume(name, driver string, modes ...corev1.PersistentVolumeAccessMode) *corev1.PersistentVolume {
	return volumeObject(name, "", "1", func(v *corev1.PersistentVolume) {
		v.Spec.AccessModes = append([]corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, modes...)
		v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: "h-" + name}}
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: name}
	})
}

func userOf(name, claim, node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{
		NodeName: node, Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}},
	}}
}

// attached are the attachments as "volume@node".
func (w *world) attached() string {
	w.t.Helper()
	var out []string
	for _, v := range []string{"a", "b", "c"} {
		for _, n := range []string{"n1", "n2"} {
			a := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: attachmentName("h-"+v, "d", n)}}
			if got, err := w.Get(context.Background(), a); err == nil {
				at := got.(*storagev1.VolumeAttachment)
				if at.Spec.Attacher != "d" || at.Spec.NodeName != n || *at.Spec.Source.PersistentVolumeName != v {
					w.t.Errorf("attachment %+v", at.Spec)
				}
				out = append(out, v+"@"+n)
			}
		}
	}
	return strings.Join(out, " ")
}

func TestAttachments(t *testing.T) {
	local := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "local"}, Spec: storagev1.CSIDriverSpec{AttachRequired: ptr.To(false)}}
	inWorld(t, []build{newVolumes, newAttachments}, func(w *world) {
		want := func(what string) {
			t.Helper()
			w.settle(5 * time.Second)
			if got := w.attached(); got != what {
				t.Errorf("attached %q, want %q", got, what)
			}
		}
		want("")
		w.create(userOf("p1", "a", "n1"))
		w.create(userOf("waits", "b", ""))
		w.create(userOf("here", "other", "n1"))
		want("a@n1")
		w.create(userOf("p2", "a", "n2")) // it is attached elsewhere
		w.create(userOf("q1", "c", "n1"))
		w.create(userOf("q2", "c", "n2")) // this one may be on both
		want("a@n1 c@n1 c@n2")
		if !slices.ContainsFunc(w.told(), func(e string) bool { return strings.Contains(e, "Multi-Attach error") }) {
			t.Error("no event tells of it")
		}
		w.delete(userOf("p1", "a", "n1"), metav1.DeletePropagationBackground) // its node has not let go yet
		want("a@n1 c@n1 c@n2")
		w.gone(userOf("p1", "a", "n1"))
		want("a@n2 c@n1 c@n2")
		w.stop()
		w.gone(userOf("p2", "a", "n2"))
		w.start(newVolumes, newAttachments)
		want("c@n1 c@n2") // though it was away when the pod went
	}, local, csiVolume("a", "d"), csiVolume("b", "d"), csiVolume("c", "d", corev1.ReadWriteMany), csiVolume("other", "local"),
		claimObject("a", "", "1"), claimObject("b", "", "1"), claimObject("c", "", "1"), claimObject("other", "", "1"))
}

// gone deletes a pod as its node does when it has let go of everything.
func (w *world) gone(pod *corev1.Pod) {
	w.t.Helper()
	if err := w.Delete(context.Background(), named(pod), metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		w.t.Fatal(err)
	}
}
