package worker

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// localClaim makes a claim and its volume, bound, as the controllers do.
func (n *testNode) localClaim(name string, policy corev1.PersistentVolumeReclaimPolicy) *corev1.PersistentVolume {
	n.Helper()
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pvc-" + name}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	if _, err := n.client.CoreV1().PersistentVolumeClaims("default").Create(n.Context(), claim, metav1.CreateOptions{}); err != nil {
		n.Fatal(err)
	}
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-" + name, UID: types.UID("v-" + name), Finalizers: []string{volumeProtection, localPathFinalizer}},
		Spec: corev1.PersistentVolumeSpec{
			ClaimRef: &corev1.ObjectReference{Namespace: "default", Name: name, UID: claim.UID}, PersistentVolumeReclaimPolicy: policy,
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: filepath.Join(paths(n.cfg.RootDir).localVolumes(), "pvc-"+name)}},
		},
	}
	if _, err := n.client.CoreV1().PersistentVolumes().Create(n.Context(), v, metav1.CreateOptions{}); err != nil {
		n.Fatal(err)
	}
	return v
}

func (n *testNode) setVolume(v *corev1.PersistentVolume) {
	n.Helper()
	if _, err := n.client.CoreV1().PersistentVolumes().Update(n.Context(), v, metav1.UpdateOptions{}); err != nil {
		n.Fatal(err)
	}
}

func TestLocalVolumes(t *testing.T) {
	n := newTestNode(t)
	n.eventually("the node to say where its volumes are", func() bool {
		node, err := n.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
		return err == nil && node.Annotations[annotationLocalPath] == paths(n.cfg.RootDir).localVolumes()
	})
	claim := func(name string) func(*corev1.Pod) {
		return mounts(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}})
	}
	n.create(testPod("early", "idle", claim("data")))
	n.event("early", eventFailedMount)
	v := n.localClaim("data", corev1.PersistentVolumeReclaimDelete)
	kept := n.localClaim("kept", corev1.PersistentVolumeReclaimRetain)
	n.ready("early")
	n.create(testPod("keeps", "idle", claim("kept")))
	n.ready("keeps")
	for _, dir := range []string{v.Spec.Local.Path, kept.Spec.Local.Path} {
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A worker that begins anew while the API is away finds the volume all the same.
	n.away.Store(true)
	n.restart()
	started := n.runtime.Calls("StartContainer")
	n.runtime.Kill("uid-early", "main", 1)
	n.eventually("a restart with the volume", func() bool { return n.runtime.Calls("StartContainer") > started })
	n.away.Store(false)
	n.delete("early", 1)
	n.gone("early")
	if _, err := os.Stat(v.Spec.Local.Path + "/f"); err != nil {
		t.Errorf("the data went with the pod: %v", err)
	}
	now := metav1.Now()
	for _, one := range []*corev1.PersistentVolume{v, kept} {
		one.DeletionTimestamp = &now
		n.setVolume(one)
	}
	for _, one := range []*corev1.PersistentVolume{v, kept} { // nobody uses them any more
		one.Finalizers = []string{localPathFinalizer}
		n.setVolume(one)
	}
	n.eventually("both volumes to be let go", func() bool {
		list, err := n.client.CoreV1().PersistentVolumes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return false
		}
		for i := range list.Items {
			if len(list.Items[i].Finalizers) > 0 {
				return false
			}
		}
		return true
	})
	if _, err := os.Stat(v.Spec.Local.Path); !os.IsNotExist(err) {
		t.Errorf("the directory is left: %v", err)
	}
	if _, err := os.Stat(kept.Spec.Local.Path + "/f"); err != nil {
		t.Errorf("data that was to be kept is gone: %v", err)
	}
}

// A volume that may be in use, or is another node's, stays.
func TestVolumesInUseAreNotErased(t *testing.T) {
	dir := t.TempDir()
	e := newEraser(nil, dir, nil)
	now := metav1.Now()
	for name, change := range map[string]func(*corev1.PersistentVolume){
		"protected":   func(v *corev1.PersistentVolume) { v.Finalizers = append(v.Finalizers, volumeProtection) },
		"not deleted": func(v *corev1.PersistentVolume) { v.DeletionTimestamp = nil },
		"elsewhere":   func(v *corev1.PersistentVolume) { v.Spec.Local.Path = "/elsewhere/v" },
		"let go":      func(v *corev1.PersistentVolume) { v.Finalizers = nil },
		"another's":   func(v *corev1.PersistentVolume) { v.Name = "w" },
		"upwards":     func(v *corev1.PersistentVolume) { v.Name, v.Spec.Local.Path = "..", filepath.Dir(dir) },
	} {
		v := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "v", DeletionTimestamp: &now, Finalizers: []string{localPathFinalizer}},
			Spec:       corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir + "/v"}}},
		}
		e.note(v)
		if len(e.due) != 1 {
			t.Fatalf("%s: the one that is to go is not noted", name)
		}
		e.forget("v")
		change(v)
		if e.note(v); len(e.due) != 0 {
			t.Errorf("%s: it would be erased", name)
		}
	}
}
