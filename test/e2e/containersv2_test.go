package e2e

import (
	"strings"
	"testing"

	"github.com/petrelrun/petrel/test/cluster"
	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
)

const volumedBox = `
apiVersion: v1
kind: ConfigMap
metadata: {name: told}
data: {word: before}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kept}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: volumed}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
  - {name: first, image: $BOX, command: [sh, -c, "echo from the first > /scratch/f; echo stays > /kept/f"],
     volumeMounts: [{name: scratch, mountPath: /scratch}, {name: kept, mountPath: /kept}]}
  containers:
  - name: main
    image: $BOX
    command: [sleep, "100000"]
    resources: {limits: {memory: 64Mi, cpu: 500m}}
    volumeMounts:
    - {name: scratch, mountPath: /scratch}
    - {name: kept, mountPath: /kept}
    - {name: told, mountPath: /told}
    - {name: about, mountPath: /about}
  volumes:
  - {name: scratch, emptyDir: {}}
  - {name: kept, persistentVolumeClaim: {claimName: kept}}
  - {name: told, configMap: {name: told}}
  - {name: about, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
`

// TestContainersOfContainerd2 has a node run containers by containerd 2.x: what else is tested with Debian's is the same.
func TestContainersOfContainerd2(t *testing.T) {
	t.Parallel()
	program := containerdtest.V2(t)
	w, n := containersWorld(t, 1, cluster.Options{Containers: 1, Args: []string{"--containerd-program=" + program}})
	w.comes("^node-1 .*containerd://v?2", "get", "nodes", "-o", "wide")
	w.opensShop()

	t.Run("kubectl", func(t *testing.T) { containersKubectl(w.in(t)) })
	t.Run("volumes", func(t *testing.T) { containersVolumes(w.in(t)) })
	t.Run("registry", func(t *testing.T) { containersPull(w.in(t), n) })
	t.Run("a pod of both kinds", func(t *testing.T) { bothOnOneNode(w.in(t)) })
	t.Run("what dies", func(t *testing.T) { containersSurvive(w.in(t), n) })
	t.Run("nothing is left", func(t *testing.T) { containersLeaveNothing(w.in(t), n) })
}

// containersVolumes reads volumes of each plain kind, and has a change of one come.
func containersVolumes(w *world) {
	w.apply(volumedBox)
	w.kubectl("wait", "pod/volumed", "--for=condition=Ready", "--timeout=150s")
	for path, want := range map[string]string{"/scratch/f": "from the first\n", "/kept/f": "stays\n", "/told/word": "before", "/about/name": "volumed"} {
		if got := w.kubectl("exec", "volumed", "--", "cat", path); got != want {
			w.Errorf("%s has %q, want %q", path, got, want)
		}
	}
	w.kubectl("patch", "configmap", "told", "-p", `{"data":{"word":"after"}}`)
	w.comes("^after$", "exec", "volumed", "--", "cat", "/told/word")
	w.kubectl("delete", "pod/volumed", "pvc/kept", "configmap/told", "--timeout=150s")
}

// bothOnOneNode has a module and a container in one pod reach each other.
func bothOnOneNode(w *world) {
	w.apply(both)
	w.kubectl("wait", "pod/both", "--for=condition=Ready", "--timeout=150s")
	if got := w.kubectl("exec", "both", "-c", "side", "--", "box", "get", "http://127.0.0.1:8080/"); !strings.Contains(got, "probe") {
		w.Errorf("the module answers %q", got)
	}
	w.kubectl("delete", "pod/both", "--timeout=150s")
}
