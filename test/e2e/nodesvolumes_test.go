package e2e

import (
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/petrelrun/petrel/test/cluster"
)

// onNodeTwo is a Pod of the second node with a claim and a config map of its own.
const onNodeTwo = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: here}
spec:
  accessModes: [ReadWriteOncePod]
  resources: {requests: {storage: 1Mi}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: here}
data: {k: before}
---
apiVersion: v1
kind: Pod
metadata: {name: here}
spec:
  nodeSelector: {kubernetes.io/hostname: node-2}
  containers:
  - name: here
    image: $PROBE
    ports: [{containerPort: 8080}]
    volumeMounts: [{name: data, mountPath: /data}, {name: map, mountPath: /map}]
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: here}}
  - {name: map, configMap: {name: here}}
`

// volumesOfANode: over TLS a node may do what volumes need, and no more: it makes and removes its local volume, and hears
// of changes of what its pods mount.
func volumesOfANode(w *world, n *cluster.Nodes) {
	w.apply(onNodeTwo)
	w.kubectl("wait", "pod/here", "--for=condition=Ready", "--timeout=150s")
	volume := w.kubectl("get", "pvc", "here", "-o", "jsonpath={.spec.volumeName}")
	contains(w.T, w.kubectl("get", "pv", volume, "-o", "jsonpath={.spec.nodeAffinity} {.spec.local.path}"), "node-2")
	base := "http://" + w.kubectl("get", "pod", "here", "-o", "jsonpath={.status.podIP}") + ":8080/file?path="
	client := n.HTTP(1)
	read := func(path string) string {
		resp, err := client.Get(base + url.QueryEscape(path))
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return string(body)
	}
	equal(w.T, "/map/k", read("/map/k"), "before")
	request, err := http.NewRequestWithContext(w.Context(), http.MethodPut, base+"/data/f", strings.NewReader("kept"))
	if err != nil {
		w.Fatal(err)
	}
	resp, err := client.Do(request)
	if err != nil {
		w.Fatal(err)
	}
	_ = resp.Body.Close()
	equal(w.T, "/data/f", read("/data/f"), "kept")
	w.kubectl("patch", "configmap", "here", "-p", `{"data":{"k":"after"}}`)
	w.eventually("the node to hear of the change", func() error {
		if got := read("/map/k"); got != "after" {
			return &missing{what: "after", in: got}
		}
		return nil
	})
	w.kubectl("delete", "pod/here", "pvc/here")
	w.eventually("the node to remove its volume", func() error {
		if left := w.kubectl("get", "pv", volume, "--ignore-not-found"); strings.TrimSpace(left) != "" {
			return &missing{what: "nothing", in: left}
		}
		return nil
	})
}
