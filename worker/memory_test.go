package worker

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const hidden = "a secret that no disk must hold"

// onDisk names the files below the worker's root, in memory aside, that hold the secret.
func (n *testNode) onDisk() (found []string) {
	n.Helper()
	err := filepath.WalkDir(n.cfg.RootDir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err):
			return nil // the worker works meanwhile
		case err != nil:
			return err
		case path == paths(n.cfg.RootDir).memory():
			return fs.SkipDir
		case !e.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if bytes.Contains(content, []byte(hidden)) || bytes.Contains(content, []byte("YSBzZWNyZXQgdGhhdCBubyBkaXNrIG11c3QgaG9sZA")) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		n.Fatal(err)
	}
	return found
}

// inMemory tells whether the place of secrets is a file system of memory.
func (n *testNode) inMemory() bool {
	var st unix.Statfs_t
	return unix.Statfs(paths(n.cfg.RootDir).memoryPods(), &st) == nil && st.Type == unix.TMPFS_MAGIC && n.ownMount()
}

func (n *testNode) ownMount() bool {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		n.Fatal(err)
	}
	return bytes.Contains(mounts, []byte(" "+paths(n.cfg.RootDir).memoryPods()+" "))
}

func secretPod(name string) *corev1.Pod {
	own := corev1.LocalObjectReference{Name: "s"}
	return testPod(name, "idle", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{
			{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}},
			{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: own}}}}}},
			{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		}
		c := &p.Spec.Containers[0]
		c.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}, {Name: "all", MountPath: "/all"}, {Name: "v", MountPath: "/k", SubPath: "k"}, {Name: "disk", MountPath: "/disk"}}
		c.Env = []corev1.EnvVar{{Name: "S", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: own, Key: "k"}}}}
	})
}

// TestSecretsLieInMemory also has the worker begin anew without the API, and everything gone with the pod and the worker.
func TestSecretsLieInMemory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: memory cannot be mounted")
	}
	n := newTestNode(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default", ResourceVersion: "1"}, Data: map[string][]byte{"k": []byte(hidden)}})
	n.create(secretPod("a"))
	n.ready("a")
	if got := n.file("a", "k"); got != hidden || !n.inMemory() {
		t.Errorf("the volume holds %q, in memory: %v", got, n.inMemory())
	}
	files := paths(n.cfg.RootDir)
	for _, part := range []string{"volumes/.subpaths/main/2", "volumes/all/k", "refs/secret-s.json"} {
		if _, err := os.Stat(filepath.Join(files.memoryPod("uid-a"), part)); err != nil {
			t.Error(err)
		}
	}
	if found := n.onDisk(); len(found) > 0 {
		t.Errorf("on disk: %v", found)
	}
	n.stop()
	n.away.Store(true)
	n.start()
	n.runtime.Kill("uid-a", "main", 1)
	n.eventually("the container's second attempt", func() bool { return n.runtime.Calls("StartContainer") == 2 })
	n.away.Store(false)
	n.eventually("the restart to be told", func() bool { return restarts(n.get("a")) == 1 })
	n.delete("a", 1)
	n.gone("a")
	n.eventually("the memory to go with its last pod", func() bool { return !n.ownMount() && len(n.glob(files.memoryPods()+"/*")) == 0 })
}

// TestMemoryOfPodsThatAreNoMore is of a worker that was killed, and whose pods have gone meanwhile.
func TestMemoryOfPodsThatAreNoMore(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: memory cannot be mounted")
	}
	n := newTestNode(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default", ResourceVersion: "1"}, Data: map[string][]byte{"k": []byte(hidden)}})
	n.create(secretPod("a"))
	n.ready("a")
	n.stop()
	if !n.inMemory() {
		t.Fatal("what pods have ended with the worker")
	}
	lost := filepath.Join(paths(n.cfg.RootDir).memoryPod("lost"), "volumes", "v")
	if err := os.MkdirAll(lost, 0o755); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.eventually("what is of no pod to go", func() bool {
		left := n.glob(paths(n.cfg.RootDir).memoryPods() + "/*")
		return len(left) == 1 && filepath.Base(left[0]) == "uid-a"
	})
	if got := n.file("a", "k"); got != hidden {
		t.Errorf("the volume of the pod that is there holds %q", got)
	}
}
