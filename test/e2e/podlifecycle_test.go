package e2e

import (
	"strings"
	"testing"
)

// TestSidecarOfATask runs what a task needs beside it: it starts before the task, is ready for it, and ends after it.
func TestSidecarOfATask(t *testing.T) {
	w := newWorld(t)
	w.apply(sidecarTask)
	w.comes(`Running first=0 proxy=true main=2`, "get", "pod", "errand", "-o", errandColumns)
	contains(t, w.kubectl("get", "pod", "errand"), "2/2")
	contains(t, w.kubectl("logs", "errand", "-c", "first"), "made ready")
	w.kubectl("wait", "pod/errand", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=150s")
	equal(t, "the sidecar's end", w.kubectl("get", "pod", "errand", "-o", "jsonpath={.status.initContainerStatuses[1].state.terminated.reason}") != "", true)
	equal(t, "its restarts", w.kubectl("get", "pod", "errand", "-o", "jsonpath={.status.initContainerStatuses[1].restartCount}"), "0")
	matches(t, w.kubectl("get", "pod", "errand"), `^errand +0/2 +Completed +0 `)
}

const errandColumns = "jsonpath={.status.phase} first={.status.initContainerStatuses[0].state.terminated.exitCode} " +
	"proxy={.status.initContainerStatuses[1].ready} main={.status.containerStatuses[0].state.running.startedAt}"

// sidecarTask is a task with an init container and a sidecar.
const sidecarTask = `
apiVersion: v1
kind: Pod
metadata: {name: errand}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 5
  initContainers:
  - {name: first, image: $TASK, args: [print, made ready]}
  - name: proxy
    image: $PROBE
    restartPolicy: Always
    ports: [{name: http, containerPort: 8081}]
    startupProbe: {httpGet: {path: /, port: http}, periodSeconds: 1, failureThreshold: 60}
    readinessProbe: {tcpSocket: {port: http}, periodSeconds: 1}
  containers:
  - {name: main, image: $TASK, args: [count, "30"]}
`

// TestLifecycleHooks: a start hook that fails has its container killed, one that succeeds lets the pod be ready, and a
// stop hook is waited for.
func TestLifecycleHooks(t *testing.T) {
	w := newWorld(t)
	w.apply(hooked)
	w.kubectl("wait", "pod/good", "--for=condition=Ready", "--timeout=150s")
	w.comes(`FailedPostStartHook.*statuscode: 404`, "events", "--for=pod/bad")
	w.comes(`^bad +0/1 +\S+ +[1-9]`, "get", "pod", "bad")
	w.kubectl("delete", "pod", "good", "bad", "--timeout=150s")
}

const hooked = `
apiVersion: v1
kind: Pod
metadata: {name: good}
spec:
  terminationGracePeriodSeconds: 10
  containers:
  - name: main
    image: $PROBE
    ports: [{name: http, containerPort: 8080}]
    lifecycle:
      postStart: {httpGet: {path: /, port: http}}
      preStop: {sleep: {seconds: 1}}
---
apiVersion: v1
kind: Pod
metadata: {name: bad}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: $PROBE
    ports: [{name: http, containerPort: 8080}]
    lifecycle:
      postStart: {httpGet: {path: /no-such-page, port: http}}
      preStop: {tcpSocket: {port: http}}
`

// TestWhatWasmPodsCannotHave is refused where the pod says that it is one, and named by its node where it does not.
func TestWhatWasmPodsCannotHave(t *testing.T) {
	w := newWorld(t)
	classed := w.file("class.yaml", []byte(w.fill(strings.ReplaceAll(privileged, "$CLASS", "runtimeClassName: wasm"))))
	out := w.kubectlFails("apply", "-f", classed)
	contains(t, out, "spec.containers[0].securityContext.privileged: Forbidden: a Wasm guest has no privileges")
	w.apply(strings.ReplaceAll(privileged, "$CLASS", ""))
	w.comes(`CreateContainerConfigError`, "get", "pod", "privileged")
	contains(t, w.kubectl("describe", "pod", "privileged"), "a Wasm guest has no privileges")
}

const privileged = `
apiVersion: v1
kind: Pod
metadata: {name: privileged}
spec:
  $CLASS
  containers:
  - {name: main, image: $TASK, securityContext: {privileged: true}}
`

// TestTerminationMessage: the end of a log is what a pod is said to have failed with, where it asks for that.
func TestTerminationMessage(t *testing.T) {
	w := newWorld(t)
	w.apply(`
apiVersion: v1
kind: Pod
metadata: {name: spoken}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: $TASK, args: [print, out of paper, exit, "3"], terminationMessagePolicy: FallbackToLogsOnError}
`)
	w.kubectl("wait", "pod/spoken", "--for=jsonpath={.status.phase}=Failed", "--timeout=150s")
	equal(t, "message", strings.TrimSpace(w.kubectl("get", "pod", "spoken", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.message}")), "out of paper")
}

// TestAPodsMemoryBoundsItsModule: what a module does not bound itself is bounded as its pod is.
func TestAPodsMemoryBoundsItsModule(t *testing.T) {
	w := newWorld(t)
	w.apply(`
apiVersion: v1
kind: Pod
metadata: {name: bounded}
spec:
  restartPolicy: Never
  resources: {limits: {memory: 50Mi}}
  containers:
  - {name: main, image: $TASK, args: [allocate, "200"]}
`)
	w.kubectl("wait", "pod/bounded", "--for=jsonpath={.status.phase}=Failed", "--timeout=150s")
	contains(t, w.kubectl("get", "pod", "bounded", "-o", "jsonpath={.status.containerStatuses[0].state.terminated}"), "OOMKilled", "the limit is 50 MiB")
}
