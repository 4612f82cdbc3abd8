package csi

import (
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestInUse: volumes that were attached are in use from before they are mounted until they are taken back, whichever worker
// is there; others never are.
func TestInUse(t *testing.T) {
	needMounts(t)
	attachment := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: AttachmentName("h", "test.csi.example", "n1")}, Status: storagev1.VolumeAttachmentStatus{Attached: true},
	}
	w := newWorld(t, attachment)
	w.serve()
	var changes atomic.Int32
	w.Drivers.cfg.Changed = func() { changes.Add(1) }
	want := func(names ...corev1.UniqueVolumeName) {
		t.Helper()
		for range 2 { // the second answer is remembered
			if got := w.InUse(); !slices.Equal(got, names) {
				t.Errorf("in use are %v, want %v", got, names)
			}
		}
	}
	want()
	one, two := w.volume("one", "h"), w.volume("two", "h")
	w.publish(one)
	want("kubernetes.io/csi/test.csi.example^h")
	w.publish(two)
	w.restart()
	want("kubernetes.io/csi/test.csi.example^h")
	w.unpublish(one)
	want("kubernetes.io/csi/test.csi.example^h")
	w.unpublish(two)
	want()
	if changes.Load() == 0 {
		t.Error("nobody hears of changes")
	}
	free := newWorld(t, unattached())
	free.serve()
	free.publish(free.volume("p", "h"))
	if got := free.InUse(); len(got) > 0 {
		t.Errorf("in use without being attached: %v", got)
	}
	free.unpublish(free.volume("p", "h"))
	if left, _ := filepath.Glob(w.cfg.PodsDir + "/*/volumes/*/" + recordName); len(left) > 0 {
		t.Errorf("records are left: %v", left)
	}
}
