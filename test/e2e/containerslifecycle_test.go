package e2e

import "strings"

// containersLifecycle asks of containers what pods ask for: order, probes, hooks, users, last words.
func containersLifecycle(w *world) {
	w.apply(wholePod)
	w.apply(endingPod)
	w.apply(sharingPod)
	w.apply(lackingPod)
	w.kubectl("wait", "pod/whole", "--for=condition=Ready", "--timeout=150s")
	matches(w.T, w.kubectl("get", "pod", "whole"), `^whole +2/2 +Running +0 `)
	equal(w.T, "its first words", strings.TrimSpace(w.kubectl("logs", "whole", "-c", "first")), "prepared by 1234")
	equal(w.T, "its sidecar answers", strings.TrimSpace(w.kubectl("exec", "whole", "-c", "main", "--", "box", "get", "http://127.0.0.1:9000/")), "beside")
	equal(w.T, "its user", strings.TrimSpace(w.kubectl("exec", "whole", "-c", "main", "--", "id", "-u")), "1234")
	contains(w.T, w.kubectl("exec", "whole", "-c", "main", "--", "cat", "/etc/hosts"), "10.9.8.7\tarchive.example", "\twhole")
	equal(w.T, "its start hook", strings.TrimSpace(w.kubectl("exec", "whole", "-c", "main", "--", "cat", "/shared/hook")), "started")

	contains(w.T, w.kubectl("exec", "whole", "-c", "main", "--", "env"), "SHOP_SERVICE_HOST=10.43.", "SHOP_PORT_80_TCP_PROTO=tcp")

	// What one container mounts is there for the other; a probe that cannot be asked costs nobody his life.
	w.kubectl("wait", "pod/shares", "--for=condition=Ready", "--timeout=150s")
	w.comes(`Liveness probe errored and resulted in unknown state: .*no-such-program`, "events", "--for=pod/shares")
	matches(w.T, w.kubectl("get", "pod", "shares"), `^shares +2/2 +Running +0 `)

	// An image that cannot be had is its own container's trouble alone.
	w.comes(`^lacking +1/2 +ErrImageNeverPull +0 `, "get", "pod", "lacking")

	w.kubectl("wait", "pod/says", "--for=jsonpath={.status.phase}=Failed", "--timeout=150s")
	const terminated = "{.status.containerStatuses[0].state.terminated."
	equal(w.T, "what the other said", w.kubectl("get", "pod", "says", "-o", "jsonpath="+terminated+"message} "+terminated+"exitCode}"), "no more 7")
	// Its main container ignores the signal for ten minutes; the hook tells it otherwise.
	w.kubectl("delete", "pod", "whole", "says", "shares", "lacking", "--timeout=150s")
}

// wholePod has an init container, a sidecar and a main container that share a volume.
const wholePod = `
apiVersion: v1
kind: Pod
metadata: {name: whole}
spec:
  terminationGracePeriodSeconds: 600
  securityContext: {runAsUser: 1234, runAsNonRoot: true, fsGroup: 1234}
  hostAliases: [{ip: 10.9.8.7, hostnames: [archive.example]}]
  volumes: [{name: shared, emptyDir: {}}]
  initContainers:
  - {name: first, image: $BOX, command: [sh, -c, 'echo prepared by $(id -u); touch /shared/ready'], volumeMounts: [{name: shared, mountPath: /shared}]}
  - name: beside
    image: $BOX
    restartPolicy: Always
    command: [box, serve, ":9000", beside]
    startupProbe: {httpGet: {path: /, port: 9000}, periodSeconds: 1, failureThreshold: 60}
  containers:
  - name: main
    image: $BOX
    command: [sh, -c, "trap '' TERM; while [ ! -e /shared/stop ]; do sleep 0.1; done"]
    volumeMounts: [{name: shared, mountPath: /shared}]
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: "1", memory: 64Mi}}
    readinessProbe: {exec: {command: [test, -e, /shared/hook]}, periodSeconds: 1, timeoutSeconds: 10}
    lifecycle:
      postStart: {exec: {command: [sh, -c, echo started > /shared/hook]}}
      preStop: {exec: {command: [touch, /shared/stop]}}
`

// endingPod ends badly, and says why.
const endingPod = `
apiVersion: v1
kind: Pod
metadata: {name: says}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: $BOX, command: [sh, -c, "printf 'no more' > /dev/termination-log; exit 7"]}
`

// lackingPod has two containers, and the image of one.
const lackingPod = `
apiVersion: v1
kind: Pod
metadata: {name: lacking}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: there, image: $BOX, command: [sleep, "100000"]}
  - {name: lacks, image: "test.petrel.internal/none:1", imagePullPolicy: Never}
`

// sharingPod has a container that mounts something for the other one to see, which has a probe that nobody can answer.
const sharingPod = `
apiVersion: v1
kind: Pod
metadata: {name: shares}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - name: gives
    image: $BOX
    command: [sh, -c, "mkdir /v/m; mount -t tmpfs none /v/m; touch /v/m/given; exec sleep 100000"]
    securityContext: {privileged: true}
    volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]
  - name: takes
    image: $BOX
    command: [sleep, "100000"]
    readinessProbe: {exec: {command: [test, -e, /v/m/given]}, periodSeconds: 1, timeoutSeconds: 10}
    livenessProbe: {exec: {command: [no-such-program]}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1}
    volumeMounts: [{name: v, mountPath: /v, mountPropagation: HostToContainer}]
`
