package e2e

import (
	"strings"
	"testing"
)

// resized is a pod's manifest with resources; it is resized in place.
const resized = `
apiVersion: v1
kind: Pod
metadata: {name: resized}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: $IMAGE
    ports: [{containerPort: 8080}]
    readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
    resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {cpu: 100m, memory: 64Mi}}
`

func (w *world) resize(resources string) {
	w.Helper()
	w.kubectl("patch", "pod", "resized", "--subresource", "resize", "-p", `{"spec":{"containers":[{"name":"main","resources":`+resources+`}]}}`)
}

// limits waits until the pod's status tells of its memory limit, its CPU request and nothing that is left to do.
func (w *world) limits(memory, cpu string) {
	w.Helper()
	w.comes("^"+memory+" "+cpu+" 0$", "get", "pod", "resized", "-o",
		"jsonpath={.status.containerStatuses[0].resources.limits.memory} {.status.containerStatuses[0].allocatedResources.cpu} {.status.containerStatuses[0].restartCount}")
	w.eventually("the resize to be over", func() error {
		if types := w.kubectl("get", "pod", "resized", "-o", "jsonpath={.status.conditions[*].type}"); strings.Contains(types, "PodResize") {
			return &missing{what: "no resize", in: types}
		}
		return nil
	})
}

// TestResize: a guest gets more memory while it serves, and a resize that its node cannot do is told.
func TestResize(t *testing.T) {
	w := newWorld(t)
	w.apply(strings.ReplaceAll(resized, "$IMAGE", "$PROBE"))
	w.kubectl("wait", "pod/resized", "--for=condition=Ready", "--timeout=150s")
	w.limits("64Mi", "10m")
	url := podURL(w, "resized")
	w.becomes(url, 200, "probe")
	w.get(url+"allocate?mib=100", 507)
	w.resize(`{"requests":{"cpu":"20m"},"limits":{"memory":"256Mi"}}`)
	w.limits("256Mi", "20m")
	w.becomes(url+"allocate?mib=100", 200, "")
	w.resize(`{"requests":{"cpu":"5k"},"limits":{"cpu":"5k"}}`)
	w.comes("Infeasible: Node didn't have enough capacity: cpu, requested: 5000000", "get", "pod", "resized", "-o",
		`jsonpath={.status.conditions[?(@.type=="PodResizePending")].reason}: {.status.conditions[?(@.type=="PodResizePending")].message}`)
	w.comes("ResizeInfeasible", "get", "events", "--field-selector", "involvedObject.name=resized")
	w.becomes(url, 200, "probe")
}

// containersResize changes the bounds of a container that runs, which its control group has at once.
func containersResize(w *world) {
	w.apply(strings.NewReplacer("$IMAGE", "$BOX\n    command: [sh, -c, 'echo ready; exec sleep 100000']",
		"    readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}\n", "").Replace(resized))
	w.kubectl("wait", "pod/resized", "--for=condition=Ready", "--timeout=150s")
	w.limits("64Mi", "10m")
	bound := func(bytes string) {
		w.Helper()
		w.comes("^"+bytes+"$", "exec", "resized", "--", "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max")
	}
	bound("67108864")
	w.resize(`{"requests":{"cpu":"20m"},"limits":{"memory":"128Mi"}}`)
	w.limits("128Mi", "20m")
	bound("134217728")
	w.resize(`{"limits":{"memory":"48Mi"}}`)
	w.limits("48Mi", "20m")
	bound("50331648")
	w.kubectl("delete", "pod", "resized", "--timeout=150s")
}
