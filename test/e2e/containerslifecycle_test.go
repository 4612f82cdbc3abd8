package e2e

import "strings"

// containersLifecycle asks of containers what pods ask for: order, probes, hooks, users, last words.
func containersLifecycle(w *world) {
	w.apply(wholePod)
	w.apply(endingPod)
	w.kubectl("wait", "pod/whole", "--for=condition=Ready", "--timeout=150s")
	matches(w.T, w.kubectl("get", "pod", "whole"), `^whole +2/2 +Running +0 `)
	equal(w.T, "its first words", strings.TrimSpace(w.kubectl("logs", "whole", "-c", "first")), "prepared by 1234")
	equal(w.T, "its sidecar answers", strings.TrimSpace(w.kubectl("exec", "whole", "-c", "main", "--", "box", "get", "http://127.0.0.1:9000/")), "beside")
	equal(w.T, "its user", strings.TrimSpace(w.kubectl("exec", "whole", "-c", "main", "--", "id", "-u")), "1234")
	contains(w.T, w.kubectl("exec", "whole", "-c", "main", "--", "cat", "/etc/hosts"), "10.9.8.7\tarchive.example", "\twhole")
	equal(w.T, "its start hook", strings.TrimSpace(w.kubectl("exec", "whole", "-c", "main", "--", "cat", "/shared/hook")), "started")

	contains(w.T, w.kubectl("exec", "whole", "-c", "main", "--", "env"), "SHOP_SERVICE_HOST=10.43.", "SHOP_PORT_80_TCP_PROTO=tcp")

	w.kubectl("wait", "pod/says", "--for=jsonpath={.status.phase}=Failed", "--timeout=150s")
	const terminated = "{.status.containerStatuses[0].state.terminated."
	equal(w.T, "what the other said", w.kubectl("get", "pod", "says", "-o", "jsonpath="+terminated+"message} "+terminated+"exitCode}"), "no more 7")
	// Its main container ignores the signal for ten minutes; the hook tells it otherwise.
	w.kubectl("delete", "pod", "whole", "says", "--timeout=150s")
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
