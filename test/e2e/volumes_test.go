package e2e

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// keeper is an HTTP guest with a volume of each kind that it can have.
const keeper = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {key: geheim}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: keeper}
spec:
  strategy: {type: Recreate}
  selector: {matchLabels: {app: keeper}}
  template:
    metadata: {labels: {app: keeper}}
    spec:
      containers:
      - name: keeper
        image: $PROBE
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
        volumeMounts:
        - {name: data, mountPath: /data}
        - {name: data, mountPath: /part, subPath: part/of}
        - {name: settings, mountPath: /settings}
        - {name: key, mountPath: /key, readOnly: true}
        - {name: about, mountPath: /about}
        - {name: scratch, mountPath: /scratch}
      volumes:
      - {name: data, persistentVolumeClaim: {claimName: data}}
      - {name: settings, configMap: {name: settings}}
      - {name: key, secret: {secretName: key, defaultMode: 0400}}
      - {name: scratch, emptyDir: {}}
      - name: about
        projected: {sources: [{downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}, {configMap: {name: settings}}]}
---
apiVersion: v1
kind: Service
metadata: {name: keeper}
spec:
  selector: {app: keeper}
  ports: [{port: 8080}]
`

// TestVolumes: a guest reads what the API gives it, sees changes without being restarted, and finds in its claim what the
// pod before it wrote; the volume goes with the claim.
func TestVolumes(t *testing.T) {
	w := newWorld(t)
	w.apply(keeper)
	w.rollout("keeper")
	matches(t, w.kubectl("get", "pvc", "data"), `^data +Bound +pvc-\S+ +1Gi +RWO +local-path `)
	volume := w.kubectl("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
	base := "http://" + w.kubectl("get", "service", "keeper", "-o", "jsonpath={.spec.clusterIP}") + ":8080/file?path="
	pod := func() string {
		return w.kubectl("get", "pods", "-l", "app=keeper", "-o", "jsonpath={.items[0].metadata.name}")
	}
	first := pod()
	for path, want := range map[string]string{"/settings/greeting": "hello", "/key/key": "geheim", "/about/name": first, "/about/greeting": "hello"} {
		equal(t, path, w.becomes(base+path, http.StatusOK, "").Body, want)
	}
	if os.Geteuid() == 0 { // others cannot mount memory
		secretsAreInMemory(t, filepath.Join(w.cluster.DataDir(), "worker"), w.kubectl("get", "pod", first, "-o", "jsonpath={.metadata.uid}"))
	}
	put := func(path string, status int) {
		t.Helper()
		equal(t, "PUT "+path, w.curl("-X", "PUT", "-d", "from "+first, base+path).Status, status)
	}
	put("/data/file", http.StatusOK)
	put("/part/file", http.StatusOK)
	put("/scratch/file", http.StatusOK)
	put("/settings/greeting", http.StatusInternalServerError)

	w.kubectl("patch", "configmap", "settings", "-p", `{"data":{"greeting":"changed"}}`)
	w.eventually("the guest to see the change", func() error {
		if a := w.curl(base + "/settings/greeting"); a.Body != "changed" {
			return &missing{what: "changed", in: a.Body}
		}
		return nil
	})
	equal(t, "pod and restarts", w.kubectl("get", "pods", "-l", "app=keeper", "-o", "jsonpath={.items[0].metadata.name} {.items[0].status.containerStatuses[0].restartCount}"), first+" 0")

	w.kubectl("delete", "pod", first)
	w.comes("^keeper-", "get", "pods", "-l", "app=keeper")
	if pod() == first {
		t.Fatal("it is the same pod")
	}
	w.rollout("keeper")
	equal(t, "/data/file", w.becomes(base+"/data/file", http.StatusOK, "").Body, "from "+first)
	equal(t, "/data/part/of/file", w.get(base+"/data/part/of/file", http.StatusOK).Body, "from "+first)
	w.get(base+"/scratch/file", http.StatusNotFound)

	contains(t, w.kubectl("delete", "pvc", "data", "--wait=false"), "deleted")
	matches(t, w.kubectl("get", "pvc", "data"), `^data +Terminating `)
	w.kubectl("delete", "deployment", "keeper")
	w.eventually("the volume to go", func() error {
		if left := w.kubectl("get", "pv", volume, "--ignore-not-found"); strings.TrimSpace(left) != "" {
			return &missing{what: "nothing", in: left}
		}
		return nil
	})
}

// secretsAreInMemory looks for the keeper's secret on the node.
func secretsAreInMemory(t *testing.T, root, uid string) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Join(root, "memory", "pods"), &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		t.Errorf("the memory of pods: type %x, %v", st.Type, err)
	}
	if content, err := os.ReadFile(filepath.Join(root, "memory", "pods", uid, "volumes", "key", "key")); err != nil || string(content) != "geheim" {
		t.Errorf("the secret in memory: %q, %v", content, err)
	}
	err := filepath.WalkDir(filepath.Join(root, "pods", uid), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if content, err := os.ReadFile(path); err != nil || strings.Contains(string(content), "geheim") {
			t.Errorf("%s has the secret, %v", path, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestClaimsThatCannotBe say why.
func TestClaimsThatCannotBe(t *testing.T) {
	w := newWorld(t)
	w.apply(strings.NewReplacer("kind: PersistentVolumeClaim\nmetadata: {name: data}\nspec:", "kind: PersistentVolumeClaim\nmetadata: {name: data}\nspec:\n  storageClassName: none").Replace(keeper))
	w.eventually("the events to tell", func() error {
		events := w.kubectl("events")
		for _, want := range []string{`storageclass.storage.k8s.io "none" not found`, "unbound immediate PersistentVolumeClaims"} {
			if !strings.Contains(events, want) {
				return &missing{what: want, in: events}
			}
		}
		return nil
	})
}
