package worker

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/worker/volume"
)

// mounts gives the pod a volume that its container mounts at /v.
func mounts(source corev1.VolumeSource) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: source}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	}
}

func fromConfigMap(name string) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}
}

func (n *testNode) file(pod, name string) string {
	p := n.get(pod)
	files := paths(n.cfg.RootDir)
	dir := files.volumes(p.UID)
	if os.Geteuid() == 0 && volume.Confidential(&p.Spec.Volumes[0]) {
		dir = volumesIn(files.memoryPod(p.UID))
	}
	content, err := os.ReadFile(filepath.Join(dir, "v", name))
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// setConfigMap gives it one value, with a version of its own as a real API would.
func (n *testNode) setConfigMap(name, value string) {
	n.Helper()
	maps := n.client.CoreV1().ConfigMaps("default")
	object, err := maps.Get(n.Context(), name, metav1.GetOptions{})
	if err != nil {
		n.Fatal(err)
	}
	object = object.DeepCopy()
	object.Data = map[string]string{"k": value}
	object.ResourceVersion = strconv.FormatUint(n.version.Add(1), 10)
	if _, err := maps.Update(n.Context(), object, metav1.UpdateOptions{}); err != nil {
		n.Fatal(err)
	}
}

func TestChangesReachRunningPods(t *testing.T) {
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm", Namespace: "default", ResourceVersion: "1"}, Data: map[string]string{"k": "1"}}
	n := newTestNode(t, config)
	n.create(testPod("a", "idle", mounts(fromConfigMap("cm"))))
	n.create(testPod("b", "idle", mounts(fromConfigMap("cm"))))
	started := n.ready("a").Status.ContainerStatuses[0].ContainerID
	n.ready("b")
	n.setConfigMap("cm", "2")
	for _, pod := range []string{"a", "b"} {
		n.eventually("the new value in "+pod, func() bool { return n.file(pod, "k") == "2" })
	}
	// A worker that begins anew goes on following, and finds what changed while it was away.
	n.stop()
	n.setConfigMap("cm", "3")
	n.start()
	n.eventually("the value of meanwhile", func() bool { return n.file("a", "k") == "3" })
	n.setConfigMap("cm", "4")
	n.eventually("the value after the restart", func() bool { return n.file("a", "k") == "4" })
	// What is deleted stays with those who have it.
	if err := n.client.CoreV1().ConfigMaps("default").Delete(t.Context(), "cm", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.event("a", eventFailedMount)
	if got := n.file("a", "k"); got != "4" {
		t.Errorf("after the deletion the file is %q", got)
	}
	if s := n.ready("a").Status.ContainerStatuses[0]; s.ContainerID != started || s.RestartCount != 0 {
		t.Errorf("the container was restarted: %+v", s)
	}
}

// A pod with a projection of what does not exist yet waits for it, and one that runs is told what was added.
func TestOptionalVolumesComeLater(t *testing.T) {
	n := newTestNode(t)
	optional := true
	source := corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
		Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Optional: &optional},
	}}}}
	n.create(testPod("a", "idle", mounts(source)))
	n.ready("a")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default", ResourceVersion: "7"}, Data: map[string][]byte{"k": []byte("v")}}
	if _, err := n.client.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.eventually("the secret", func() bool { return n.file("a", "k") == "v" })
}

func TestLabelsReachTheDownwardAPI(t *testing.T) {
	n := newTestNode(t)
	source := corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
		{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
	}}}
	n.create(testPod("a", "idle", mounts(source), func(p *corev1.Pod) { p.Labels = map[string]string{"tier": "old"} }))
	n.ready("a")
	if got := n.file("a", "labels"); got != `tier="old"` {
		t.Errorf("labels %q", got)
	}
	p := n.get("a").DeepCopy()
	p.Labels = map[string]string{"tier": "new"}
	p.ResourceVersion = strconv.FormatUint(n.version.Add(1), 10)
	if _, err := n.client.CoreV1().Pods("default").Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.eventually("the new label", func() bool { return n.file("a", "labels") == `tier="new"` })
}

func TestVolumesAreRemovedWithTheirPod(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle", mounts(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})))
	dir := paths(n.cfg.RootDir).pod(n.ready("a").UID)
	if _, err := os.Stat(filepath.Join(dir, "volumes", "v")); err != nil {
		t.Fatal(err)
	}
	n.delete("a", 1)
	n.gone("a")
	n.eventually("the directory to go", func() bool { _, err := os.Lstat(dir); return os.IsNotExist(err) })
}
