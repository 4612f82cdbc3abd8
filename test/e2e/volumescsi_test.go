package e2e

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/worker/csi/csitest"
)

// driven is a guest with a volume of a CSI driver, which an administrator made, and one that lives with the pod.
const driven = `
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: dirs.csi.example}
spec: {attachRequired: false, podInfoOnMount: true, volumeLifecycleModes: [Persistent, Ephemeral]}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: csi-e2e}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: by-hand
  csi: {driver: dirs.csi.example, volumeHandle: one}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: by-hand
  resources: {requests: {storage: 1Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: driven, labels: {app: driven}}
spec:
  containers:
  - name: driven
    image: $PROBE
    ports: [{containerPort: 8080}]
    readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
    volumeMounts: [{name: data, mountPath: /data}, {name: own, mountPath: /own}]
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: data}}
  - {name: own, csi: {driver: dirs.csi.example}}
`

// TestCSI: a driver that registers itself mounts volumes for a guest, and is asked to take them back.
func TestCSI(t *testing.T) {
	probe := t.TempDir()
	if err := unix.Mount("tmpfs", probe, "tmpfs", 0, ""); errors.Is(err, unix.EPERM) {
		t.Skip("EPERM: this process may not mount")
	} else if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(probe, 0); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	peer := csitest.New(t, "dirs.csi.example")
	peer.Serve(t, filepath.Join(w.cluster.DataDir(), "worker", "plugins_registry"))
	w.apply(driven)
	t.Cleanup(func() { // they are in no namespace that goes with the test
		if _, err := w.k.Run(context.Background(), "", "delete", "csidriver/dirs.csi.example", "pv/csi-e2e", "--ignore-not-found", "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	w.kubectl("wait", "pod/driven", "--for=condition=Ready", "--timeout=150s")
	matches(t, w.kubectl("get", "pvc", "data"), `^data +Bound +csi-e2e +1Gi +RWO +by-hand `)
	matches(t, w.kubectl("get", "csinodes", "-o", "jsonpath={.items[*].spec.drivers[*].name}"), `dirs.csi.example`)
	base := "http://" + w.kubectl("get", "pod", "driven", "-o", "jsonpath={.status.podIP}") + ":8080/file?path="
	for _, path := range []string{"/data/f", "/own/f"} {
		equal(t, "PUT "+path, w.curl("-X", "PUT", "-d", "kept", base+path).Status, http.StatusOK)
	}
	equal(t, "/data/f", w.get(base+"/data/f", http.StatusOK).Body, "kept")
	if found, err := filepath.Glob(peer.Volume("*") + "/f"); err != nil || len(found) != 2 || !slices.Contains(found, peer.Volume("one")+"/f") {
		t.Errorf("the driver's volumes hold %v, %v", found, err)
	}
	w.kubectl("delete", "pod", "driven")
	w.eventually("the driver to be asked to take its volumes back", func() error {
		calls := strings.Join(peer.Calls(), " ")
		if strings.Count(calls, "unpublish") < 2 || strings.Count(calls, "unstage") != 1 { // it may be asked again while the guest's files are closed
			return &missing{what: "two unpublish, one unstage", in: calls}
		}
		return nil
	})
	w.kubectl("delete", "pvc", "data")
	w.kubectl("wait", "pv/csi-e2e", "--for=jsonpath={.status.phase}=Released", "--timeout=150s")
}
