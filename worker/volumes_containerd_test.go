package worker

import (
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// reader says what a container sees of its volumes, whenever it is asked to by a file.
const reader = `
look() {
  echo "$1 group=$(id -G) data=$(stat -c %a:%g /data) memory=$(stat -f -c %T /memory) map=$(cat /map/k) sub=$(cat /one/k) down=$(cat /down/labels) local=$(stat -c %a /local) device=$(test -c /null && echo yes)"
  echo x > /map/new 2>/dev/null && echo "the map can be written to"
  echo x > /ro/new 2>/dev/null && echo "read-only can be written to"
  return 0
}
echo mine > /data/part/mine; echo here > /sub/there; echo kept > /local/f
look first
while [ "$(cat /map/k)" = 1 ]; do sleep 0.05; done
look second
ls /data/part
exec sleep 1000`

func TestVolumesInContainers(t *testing.T) {
	n := newContainerNode(t)
	n.stop()
	n.cfg.HostPaths = []string{"/dev/null"}
	n.start()
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm", Namespace: "default", ResourceVersion: "1"}, Data: map[string]string{"k": "1"}}
	if _, err := n.client.CoreV1().ConfigMaps("default").Create(t.Context(), config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	local := n.localClaim("local", corev1.PersistentVolumeReclaimRetain)
	n.create(shellPod("a", reader, func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "x"}
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1234), RunAsGroup: ptr.To[int64](1234), FSGroup: ptr.To[int64](777)}
		p.Spec.Volumes = []corev1.Volume{
			{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: ptr.To(resource.MustParse("1Mi"))}}},
			{Name: "map", VolumeSource: fromConfigMap("cm")},
			{Name: "null", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/dev/null", Type: ptr.To(corev1.HostPathCharDev)}}},
			{Name: "local", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "local"}}},
			{Name: "down", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
			}}}},
		}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PART", Value: "part"}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
			{Name: "data", MountPath: "/data"}, {Name: "data", MountPath: "/sub", SubPathExpr: "$(PART)"},
			{Name: "data", MountPath: "/ro", ReadOnly: true}, {Name: "memory", MountPath: "/memory"},
			{Name: "map", MountPath: "/map"}, {Name: "map", MountPath: "/one/k", SubPath: "k"},
			{Name: "null", MountPath: "/null"}, {Name: "local", MountPath: "/local"}, {Name: "down", MountPath: "/down"},
		}
	}))
	p := n.ready("a")
	sees := func(line string) {
		t.Helper()
		var body string
		n.eventually("the container to see "+line, func() bool { _, body = n.log("a", "main", ""); return strings.Contains(body, line) || t.Failed() })
	}
	sees(`first group=1234 777 data=2777:777 memory=tmpfs map=1 sub=1 down=app="x" local=2777 device=yes`)
	n.setConfigMap("cm", "2")
	sees(`second group=1234 777 data=2777:777 memory=tmpfs map=2 sub=1 down=app="x" local=2777 device=yes`)
	sees("mine\nthere\n")
	if _, body := n.log("a", "main", ""); strings.Contains(body, "can be written to") {
		t.Errorf("log: %s", body)
	}
	if again := n.ready("a"); again.Status.ContainerStatuses[0].RestartCount != 0 || again.Status.ContainerStatuses[0].ContainerID != p.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("the container was restarted: %+v", again.Status.ContainerStatuses)
	}
	n.delete("a", 0)
	n.gone("a")
	dir := paths(n.cfg.RootDir).pod(p.UID)
	n.eventually("the pod's directory to go", func() bool { _, err := os.Lstat(dir); return os.IsNotExist(err) })
	if mounted, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounted), dir) {
		t.Errorf("mounts are left below %s, %v", dir, err)
	}
	if content, err := os.ReadFile(local.Spec.Local.Path + "/f"); err != nil || string(content) != "kept\n" {
		t.Errorf("the local volume: %q, %v", content, err)
	}
}
