package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

const environment = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {COLOUR: red, SIZE: small}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {WORD: sesame}
---
apiVersion: v1
kind: Pod
metadata:
  name: server
  labels: {app: server, tier: front}
  annotations: {note: hello}
spec:
  containers:
  - name: main
    image: $PROBE
    ports: [{containerPort: 8080}]
    resources: {limits: {memory: 128Mi}, requests: {cpu: 10m}}
    envFrom:
    - configMapRef: {name: settings}
    - {prefix: SECRET_, secretRef: {name: password}}
    - configMapRef: {name: not-there, optional: true}
    env:
    - {name: PLAIN, value: plain}
    - {name: COMPOSED, value: $(PLAIN)-$(COLOUR)-$$(PLAIN)}
    - {name: FROM_KEY, valueFrom: {configMapKeyRef: {name: settings, key: SIZE}}}
    - {name: FROM_SECRET, valueFrom: {secretKeyRef: {name: password, key: WORD}}}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
    - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
`

// TestEnvironment reads, inside the guest, every source of environment variables.
func TestEnvironment(t *testing.T) {
	w := newWorld(t)
	w.apply(environment)
	w.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=150s")
	got := parse[map[string]string](w, w.becomes(podURL(w, "server")+"env", 200, "PLAIN").Body)
	status := strings.Fields(w.kubectl("get", "pod", "server", "-o", "jsonpath={.status.podIP} {.spec.nodeName}"))
	for name, want := range map[string]string{
		"COLOUR": "red", "SIZE": "small", "SECRET_WORD": "sesame", "PLAIN": "plain", "COMPOSED": "plain-red-$(PLAIN)",
		"FROM_KEY": "small", "FROM_SECRET": "sesame", "POD_NAME": "server", "POD_NAMESPACE": w.ns, "POD_IP": status[0],
		"NODE_NAME": status[1], "TIER": "front", "NOTE": "hello", "MEMORY": strconv.Itoa(128 << 20),
	} {
		equal(t, name, got[name], want)
	}

	// A pod that names what is not there waits, says so, and starts when it is.
	w.kubectlIn(w.fill(strings.ReplaceAll(server, "    ports:", "    envFrom: [{configMapRef: {name: late}}]\n    ports:"))+"", "replace", "--force", "-f", "-")
	w.comes(`^server +0/1 +CreateContainerConfigError `, "get", "pod", "server")
	w.kubectl("create", "configmap", "late", "--from-literal=LATE=yes")
	w.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=150s")
}

// TestProbes has a readiness probe turn good and a liveness probe turn bad.
func TestProbes(t *testing.T) {
	w := newWorld(t)
	now := time.Now().Unix()
	readiness := fmt.Sprintf("    readinessProbe: {httpGet: {path: '/after?t=%d', port: 8080}, periodSeconds: 1}\n", now+8)
	liveness := fmt.Sprintf("    livenessProbe: {httpGet: {path: '/until?t=%d', port: 8080}, periodSeconds: 1, failureThreshold: 2}\n", now+14)
	tcp := "    startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}\n"
	w.apply(server + readiness + liveness + tcp)

	w.kubectl("wait", "pod/server", "--for=jsonpath={.status.phase}=Running", "--timeout=150s")
	if time.Now().Unix() < now+7 {
		matches(t, w.kubectl("get", "pod", "server"), `^server +0/1 +Running `)
	}
	w.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=150s")
	if time.Now().Unix() < now+8 {
		t.Error("the pod was ready before its probe was good")
	}
	w.eventually("the failed liveness probe to restart the container", func() error {
		if n := restarts(w, "server"); n == 0 {
			return fmt.Errorf("no restart yet")
		}
		return nil
	})
	w.eventually("the events to tell", func() error { return hasEvents(w, "pod/server", "Unhealthy", "Killing") })
}

func restarts(w *world, pod string) int {
	w.Helper()
	n, err := strconv.Atoi(w.kubectl("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}"))
	if err != nil {
		return 0 // no status yet
	}
	return n
}

func task(name, policy string, args ...string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n  restartPolicy: %s\n  containers:\n  - {name: main, image: $TASK, args: [%s]}\n---\n",
		name, policy, `"`+strings.Join(args, `", "`)+`"`)
}

// TestRestartPolicy ends programs well and badly under each policy.
func TestRestartPolicy(t *testing.T) {
	w := newWorld(t)
	w.apply(task("never-good", "Never", "print", "done") + task("never-bad", "Never", "exit", "7") +
		task("failure-good", "OnFailure", "exit", "0") + task("failure-bad", "OnFailure", "exit", "3") +
		task("always", "Always", "exit", "0"))
	w.kubectl("wait", "pod/never-good", "pod/failure-good", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=150s")
	w.kubectl("wait", "pod/never-bad", "--for=jsonpath={.status.phase}=Failed", "--timeout=150s")
	equal(t, "exit code", w.kubectl("get", "pod", "never-bad", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"), "7")
	w.eventually("those that restart to back off", func() error {
		out := w.kubectl("get", "pods")
		if strings.Count(out, "CrashLoopBackOff") != 2 {
			return &missing{what: "two in CrashLoopBackOff", in: out}
		}
		return nil
	})
	for _, pod := range []string{"failure-bad", "always"} {
		if restarts(w, pod) < 1 {
			t.Errorf("%s has not been restarted", pod)
		}
		w.eventually("its event", func() error { return hasEvents(w, "pod/"+pod, "BackOff") })
	}
	matches(t, w.kubectl("get", "pods"), `^never-good +0/1 +Completed +0 `, `^never-bad +0/1 +Error +0 `)
	contains(t, w.kubectl("logs", "never-good"), "done")
	w.kubectl("logs", "failure-bad", "--previous")
}

// TestJob runs programs to their end: side by side, and again after failures.
func TestJob(t *testing.T) {
	w := newWorld(t)
	job := func(name, spec string, args ...string) string {
		return fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: %s}\nspec:\n  %s\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n      - {name: main, image: $TASK, args: [%s]}\n---\n",
			name, spec, `"`+strings.Join(args, `", "`)+`"`)
	}
	w.apply(job("many", "completions: 5\n  parallelism: 2", "print", "one of many") +
		job("bad", "backoffLimit: 1", "complain", "no luck", "exit", "4") +
		job("slow", "activeDeadlineSeconds: 2", "sleep", "600000"))
	w.kubectl("wait", "job/many", "--for=condition=Complete", "--timeout=150s")
	matches(t, w.kubectl("get", "jobs"), `^many +Complete +5/5 +\d+s `)
	equal(t, "pods of many", count(w, "get", "pods", "-l", "job-name=many", "-o", "name"), 5)
	w.kubectl("wait", "job/slow", "--for=condition=Failed", "--timeout=150s")
	contains(t, w.kubectl("describe", "job", "slow"), "DeadlineExceeded")
	w.kubectl("wait", "job/bad", "--for=condition=Failed", "--timeout=150s")
	contains(t, w.kubectl("describe", "job", "bad"), "BackoffLimitExceeded")
	equal(t, "pods of bad", count(w, "get", "pods", "-l", "job-name=bad", "-o", "name"), 2)
	w.kubectl("delete", "job", "many")
	w.kubectl("wait", "pods", "-l", "job-name=many", "--for=delete", "--timeout=150s")
}

// TestLoopingGuest: a guest that never returns is cut off at its wall time, and its neighbours in the same namespace,
// so in the same process, answer meanwhile.
func TestLoopingGuest(t *testing.T) {
	w := newWorld(t)
	looping := strings.ReplaceAll(server, "  name: server\n  labels", "  name: looper\n  annotations: {petrel.run/wall-time: 5s}\n  labels")
	w.apply(server + "---" + looping)
	w.kubectl("wait", "pod/server", "pod/looper", "--for=condition=Ready", "--timeout=150s")
	neighbour, looper := podURL(w, "server"), podURL(w, "looper")
	w.becomes(neighbour, 200, "probe")
	w.becomes(looper, 200, "probe")

	cut := make(chan error, 1)
	began := time.Now()
	go func() {
		a, err := fetch(context.WithoutCancel(t.Context()), looper+"loop")
		if err == nil && (a.Status != 504 || !strings.Contains(a.Body, "wall_time")) {
			err = fmt.Errorf("%d %s", a.Status, a.Body)
		}
		cut <- err
	}()
	time.Sleep(500 * time.Millisecond)
	var slowest time.Duration
	for time.Since(began) < 3*time.Second {
		asked := time.Now()
		w.get(neighbour, 200)
		slowest = max(slowest, time.Since(asked))
	}
	if slowest > 4*time.Second {
		t.Errorf("beside the loop a neighbour took %s to answer", slowest)
	}
	if err := <-cut; err != nil {
		t.Errorf("the looping request: %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the loop was cut off after %s, not 5 s", took)
	}
	w.get(looper, 200) // the next request gets an instance of its own

	// A command that loops is ended by deleting its pod.
	w.apply(task("spinner", "Never", "spin", "on"))
	w.kubectl("wait", "pod/spinner", "--for=jsonpath={.status.phase}=Running", "--timeout=150s")
	w.get(neighbour, 200)
	w.kubectl("delete", "pod", "spinner", "--grace-period=1", "--timeout=150s")
	w.get(neighbour, 200)
}

// TestMemoryLimit: a guest that wants more than its limit is stopped and no other is.
func TestMemoryLimit(t *testing.T) {
	w := newWorld(t)
	limit := "    resources: {limits: {memory: 64Mi}}\n    ports:"
	hog := strings.ReplaceAll(task("hog", "Never", "allocate", "256"), "args:", "resources: {limits: {memory: 64Mi}}, args:")
	w.apply(strings.ReplaceAll(server, "    ports:", limit) + "---\n" + hog)
	w.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=150s")
	url := podURL(w, "server")
	w.becomes(url, 200, "probe")
	a := w.get(url+"allocate?mib=256", 507)
	contains(t, a.Body, "memory")
	w.get(url+"allocate?mib=4", 200)
	w.get(url, 200)
	equal(t, "restarts", restarts(w, "server"), 0)

	w.kubectl("wait", "pod/hog", "--for=jsonpath={.status.phase}=Failed", "--timeout=150s")
	matches(t, w.kubectl("get", "pod", "hog"), `^hog +0/1 +OOMKilled `)
}

// TestGuestFailures: what a guest does wrong is told to its caller and hurts no one else.
func TestGuestFailures(t *testing.T) {
	w := newWorld(t)
	w.apply(server)
	w.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=150s")
	url := podURL(w, "server")
	w.becomes(url, 200, "probe")
	a, err := fetch(t.Context(), url+"panic")
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != 500 && a.Status != 502 {
		t.Errorf("a panic answers %d %s", a.Status, a.Body)
	}
	w.get(url+"status?code=418", 418)
	w.get(url+"nowhere", 404)
	w.get(url, 200)
}
