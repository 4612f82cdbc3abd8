package resource

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const claimConfig = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
`

// TestClaims takes one through apply, status, what may not change, and delete.
func TestClaims(t *testing.T) {
	ns, d := space(t), must(corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"))
	out, created, err := apply(d, ns, "data", "one", claimConfig, false)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	claim := out.(*corev1.PersistentVolumeClaim)
	if claim.Status.Phase != corev1.ClaimPending || *claim.Spec.VolumeMode != corev1.PersistentVolumeFilesystem {
		t.Errorf("applied: %+v", claim)
	}
	claim.Status.Phase, claim.Spec.VolumeName = corev1.ClaimBound, "sneaked-in"
	told, err := shared.Client("test").UpdateStatus(t.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	if got := told.(*corev1.PersistentVolumeClaim); got.Status.Phase != corev1.ClaimBound || got.Spec.VolumeName != "" {
		t.Errorf("status: %+v", got)
	}
	if _, _, err := apply(d, ns, "data", "one", strings.Replace(claimConfig, "ReadWriteOnce", "ReadWriteMany", 1), false); !apierrors.IsInvalid(err) {
		t.Errorf("access modes were changed: %v", err)
	}
	if err := shared.Client("test").Delete(t.Context(), told, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestStorageIsValidated applies what must be refused.
func TestStorageIsValidated(t *testing.T) {
	for kind, c := range map[string]struct {
		resource, config string
	}{
		"local without a node": {"persistentvolumes", `
apiVersion: v1
kind: PersistentVolume
metadata: {name: x}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], local: {path: /data}}`},
		"two sources": {"persistentvolumes", `
apiVersion: v1
kind: PersistentVolume
metadata: {name: x}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /data}, csi: {driver: d, volumeHandle: h}}`},
		"claim of nothing": {"persistentvolumeclaims", `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: x}
spec: {accessModes: [ReadWriteOnce]}`},
	} {
		d := must(corev1.SchemeGroupVersion.WithResource(c.resource))
		ns := ""
		if d.Namespaced {
			ns = space(t)
		}
		if _, _, err := apply(d, ns, "x", "one", c.config, false); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestStorageKinds makes one of each kind that has no namespace.
func TestStorageKinds(t *testing.T) {
	for resource, config := range map[string]string{
		"storageclasses":    "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: x}, provisioner: example.com/x}",
		"csidrivers":        "{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: x}, spec: {}}",
		"csinodes":          "{apiVersion: storage.k8s.io/v1, kind: CSINode, metadata: {name: x}, spec: {drivers: [{name: d, nodeID: node-1, topologyKeys: []}]}}",
		"volumeattachments": "{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, metadata: {name: x}, spec: {attacher: d, nodeName: node-1, source: {persistentVolumeName: v}}}",
	} {
		d := must(storagev1.SchemeGroupVersion.WithResource(resource))
		out, _, err := apply(d, "", "x", "one", config, false)
		if err != nil {
			t.Errorf("%s: %v", resource, err)
			continue
		}
		switch o := out.(type) {
		case *storagev1.StorageClass:
			if *o.ReclaimPolicy != corev1.PersistentVolumeReclaimDelete || *o.VolumeBindingMode != storagev1.VolumeBindingImmediate {
				t.Errorf("class: %+v", o)
			}
		case *storagev1.CSIDriver:
			if !*o.Spec.AttachRequired || *o.Spec.FSGroupPolicy != storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy {
				t.Errorf("driver: %+v", o.Spec)
			}
		}
		if err := shared.Client("test").Delete(t.Context(), out, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
}
