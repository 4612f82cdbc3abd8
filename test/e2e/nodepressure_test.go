package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// scribe is an HTTP guest that writes to disk what it is told to.
const scribe = `
apiVersion: v1
kind: Pod
metadata: {name: $NAME}
spec:
  priorityClassName: $CLASS
  containers:
  - name: scribe
    image: $PROBE
    ports: [{containerPort: 8080}]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
    resources: {$RESOURCES}
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes: [{name: scratch, emptyDir: {}}]
`

// pressed is a pod that runs all the same where the disk is short, of a module that has to be fetched.
const pressed = `
apiVersion: v1
kind: Pod
metadata: {name: pressed}
spec:
  priorityClassName: system-node-critical
  tolerations: [{operator: Exists}]
  containers:
  - name: pressed
    image: $HOSTILE
    ports: [{containerPort: 8080}]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
`

// TestDiskPressure has a node whose disk is a small one of its own. A pod beyond its limit goes, then one that fills the
// disk; the others stay. While something else fills it, the node is tainted, and new pods wait until there is room.
func TestDiskPressure(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, filepath.Join(suite.dir, folderName(t), "data", "worker"), 48<<20)
	w := worldIn(t, ownCluster(t, "--eviction-hard=nodefs.available<24Mi", "--eviction-pressure-transition-period=1s"))
	w.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=150s")

	create := func(name, class, resources string) {
		w.apply(strings.NewReplacer("$NAME", name, "$CLASS", class, "$RESOURCES", resources).Replace(scribe))
	}
	ready := func(name string) { w.kubectl("wait", "pod/"+name, "--for=condition=Ready", "--timeout=150s") }
	create("modest", `""`, "")
	create("bounded", `""`, "limits: {ephemeral-storage: 1Mi}")
	ready("modest")
	ready("bounded")
	w.fillsUp("bounded", `^Failed Evicted Pod ephemeral local storage usage exceeds the total limit of containers 1Mi\.$`)

	create("greedy", `""`, "")
	ready("greedy")
	w.fillsUp("greedy", `^Failed Evicted The node was low on resource: ephemeral-storage\. Threshold quantity: 24Mi, available: \d+`)
	w.comes(`DisruptionTarget=True`, "get", "pod", "greedy", "-o", `jsonpath={range .status.conditions[*]}{.type}={.status} {end}`)
	w.comes(`Evicted`, "get", "events", "--field-selector=involvedObject.name=greedy")
	w.pressure("False", "^$")
	ready("modest")
	equal(t, "restarts", strings.TrimSpace(w.kubectl("get", "pod", "modest", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")), "0")

	create("needed", "system-node-critical", "")
	ready("needed")
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	w.pressure("True", `node\.kubernetes\.io/disk-pressure:NoSchedule`)
	create("late", `""`, "")
	w.comes(`FailedScheduling .*disk-pressure`, "get", "events", "--field-selector=involvedObject.name=late")
	w.apply(pressed) // while all images are removed that nothing uses, every other second
	ready("pressed")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	w.pressure("False", "^$")
	ready("late")
	ready("needed")
	ready("pressed")
}

// smallDisk makes the directory a file system of its own.
func smallDisk(t *testing.T, dir string, size int) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=755,size=%d", size))
	if errors.Is(err, unix.EPERM) {
		t.Skip("EPERM: this process may not mount")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the cluster has ended
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillsUp has a pod write until its status is as wanted.
func (w *world) fillsUp(pod, status string) {
	w.Helper()
	base := "http://" + strings.TrimSpace(w.kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}")) + ":8080/file?path=/scratch/"
	const files, size = 8, 4 << 20
	for i := range files {
		if err := putFile(w.Context(), fmt.Sprint(base, i), size); err != nil {
			w.Logf("file %d: %v", i, err) // it may be evicted already
			break
		}
	}
	w.comes(status, "get", "pod", pod, "-o", "jsonpath={.status.phase} {.status.reason} {.status.message}")
}

func putFile(ctx context.Context, url string, size int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(strings.Repeat("x", size)))
	if err != nil {
		return err
	}
	a, err := send(req)
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", a.Status, a.Body)
	}
	return err
}

// pressure waits for the node's condition and its taints.
func (w *world) pressure(status, taints string) {
	w.Helper()
	w.comes("^"+status+"$", "get", "nodes", "-o", `jsonpath={.items[0].status.conditions[?(@.type=="DiskPressure")].status}`)
	w.comes(taints, "get", "nodes", "-o", `jsonpath={range .items[0].spec.taints[*]}{.key}:{.effect} {end}`)
}
