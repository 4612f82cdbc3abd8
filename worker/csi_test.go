package worker

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/csi/csitest"
)

// TestDriversOfVolumes: a pod waits for its driver, gets its volume, and leaves only after it was taken back, also when the
// worker was restarted meanwhile.
func TestDriversOfVolumes(t *testing.T) {
	probe := t.TempDir()
	if err := unix.Mount("tmpfs", probe, "tmpfs", 0, ""); err == unix.EPERM {
		t.Skip("EPERM: this process may not mount")
	} else if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(probe, 0); err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp("", "ptl-drv-") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	n := newTestNode(t)
	n.stop()
	n.cfg.RootDir = root
	driver := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "test.csi.example"}, Spec: storagev1.CSIDriverSpec{AttachRequired: ptr.To(false)}}
	if _, err := n.client.StorageV1().CSIDrivers().Create(t.Context(), driver, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.start()
	v := n.localClaim("data", corev1.PersistentVolumeReclaimRetain)
	v.Finalizers = nil
	v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver.Name, VolumeHandle: "h"}}
	n.setVolume(v)
	n.create(testPod("a", "idle", mounts(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}})))
	n.event("a", eventFailedMount) // the driver is not there yet
	peer := csitest.New(t, driver.Name)
	peer.Serve(t, paths(root).plugins())
	p := n.ready("a")
	at := filepath.Join(paths(root).volumes(p.UID), "v", "mount")
	if err := os.WriteFile(at+"/f", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(peer.Volume("h") + "/f"); err != nil || string(content) != "x" {
		t.Errorf("the volume has %q, %v", content, err)
	}
	n.stop()
	n.delete("a", 1)
	n.start()
	n.gone("a")
	n.eventually("the directory to go", func() bool { _, err := os.Lstat(paths(root).pod(p.UID)); return os.IsNotExist(err) })
	calls := peer.Calls()
	if !slices.Contains(calls, "unpublish") || calls[len(calls)-1] != "unstage" {
		t.Errorf("calls %v", calls)
	}
	if content, err := os.ReadFile(peer.Volume("h") + "/f"); err != nil || string(content) != "x" {
		t.Errorf("after the pod the volume has %q, %v", content, err)
	}
}
