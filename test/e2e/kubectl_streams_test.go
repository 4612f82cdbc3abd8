package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// streamWays are the two protocols that kubectl speaks; it takes WebSockets unless it is told otherwise.
var streamWays = map[string][]string{
	"WebSocket": nil,
	"SPDY":      {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false"},
}

// talk runs a kubectl that is fed stdin, and answers its streams and its exit code.
func (w *world) talk(env []string, stdin string, args ...string) (stdout, stderr string, code int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	cmd := w.k.Command(ctx, args...)
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.Env = append(cmd.Env, env...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

const streamPods = `
apiVersion: v1
kind: Pod
metadata: {name: site, labels: {app: streams}}
spec:
  containers:
  - {name: main, image: "$PROBE", ports: [{containerPort: 8080}], env: [{name: RELEASE, value: one}]}
---
apiVersion: v1
kind: Pod
metadata: {name: job, labels: {app: streams}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - {name: first, image: "$TASK", args: [print, of the first, complain, loud, sleep, "600000"]}
  - {name: second, image: "$TASK", args: [print, of the second, print, again, sleep, "600000"]}
`

// TestKubectlExec runs exports of a module, and a command's module again.
func TestKubectlExec(t *testing.T) {
	w := newWorld(t)
	w.apply(streamPods)
	w.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout="+patience.String())
	for way, env := range streamWays {
		stdout, stderr, code := w.talk(env, "from here", "exec", "-i", "site", "--", "migrate", "all", "of it")
		if want := "migrated all of it with \"from here\" in one\n"; stdout != want || code != 2 {
			t.Errorf("%s: an export: %q, exit code %d, %s", way, stdout, code, stderr)
		}
		stdout, stderr, code = w.talk(env, "", "exec", "job", "-c", "second", "--", "task", "print", "hello", "complain", "oops", "exit", "7")
		if stdout != "hello\n" || !strings.HasPrefix(stderr, "oops\n") || code != 7 {
			t.Errorf("%s: the module again: %q, %q, exit code %d", way, stdout, stderr, code)
		}
		large := strings.Repeat("0123456789abcdef", 1<<16)
		if stdout, stderr, code = w.talk(env, large, "exec", "-i", "job", "-c", "first", "--", "task", "cat", "-"); stdout != large || code != 0 {
			t.Errorf("%s: %d bytes came back, exit code %d, %s", way, len(stdout), code, stderr)
		}
		_, stderr, code = w.talk(env, "", "exec", "site", "--", "sh", "-c", "ls")
		if code != 1 || !strings.Contains(stderr, "no shell") || !strings.Contains(stderr, "migrate") {
			t.Errorf("%s: a shell: exit code %d, %s", way, code, stderr)
		}
	}
	matches(t, w.kubectlFails("exec", "job", "-c", "third", "--", "task"), "container third is not valid|container third not found")
	matches(t, w.kubectlFails("exec", "nobody", "--", "task"), "not found")
}

// TestKubectlAttach feeds a command that waits for its input.
func TestKubectlAttach(t *testing.T) {
	w := newWorld(t)
	for way, env := range streamWays {
		name := "reads-" + strings.ToLower(way)
		w.apply(strings.ReplaceAll(`
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  restartPolicy: Never
  containers: [{name: main, image: "$TASK", args: [cat, "-", print, the end], stdin: true, stdinOnce: true}]
`, "NAME", name))
		w.kubectl("wait", "pod/"+name, "--for=condition=Ready", "--timeout="+patience.String())
		stdout, stderr, code := w.talk(env, "a line\n", "attach", "-i", name)
		if !strings.Contains(stdout, "a line\n") || code != 0 {
			t.Errorf("%s: %q, %q, exit code %d", way, stdout, stderr, code)
		}
		w.kubectl("wait", "pod/"+name, "--for=jsonpath={.status.phase}=Succeeded", "--timeout="+patience.String())
		if logs := w.kubectl("logs", name); logs != "a line\nthe end\n" {
			t.Errorf("%s: the log is %q", way, logs)
		}
	}
}

// TestKubectlPortForward reaches a pod through a port of this machine.
func TestKubectlPortForward(t *testing.T) {
	w := newWorld(t)
	w.apply(streamPods)
	w.kubectl("wait", "pod/site", "--for=condition=Ready", "--timeout="+patience.String())
	for way, env := range streamWays {
		cmd := w.k.Command(t.Context(), "port-forward", "pod/site", ":8080")
		cmd.Env = append(cmd.Env, env...)
		line := w.follow(cmd).sees(`^Forwarding from 127\.0\.0\.1:\d+`)
		at := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
		for range 3 {
			resp, err := http.Post("http://"+at+"/echo", "text/plain", strings.NewReader("to and fro"))
			if err != nil {
				t.Fatalf("%s: %v", way, err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(body) != "to and fro" || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s %q, %v", way, resp.Status, body, err)
			}
		}
	}
}

// TestKubectlLogsFlags reads the logs of a pod of two containers in each way that kubectl has.
func TestKubectlLogsFlags(t *testing.T) {
	w := newWorld(t)
	w.apply(streamPods)
	w.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout="+patience.String())
	for container, lines := range map[string]string{"first": "of the first\nloud\n", "second": "of the second\nagain\n"} {
		w.eventually("the "+container+" container to have written", func() error {
			if out := w.kubectl("logs", "job", "-c", container); out != lines {
				return &missing{what: "both lines", in: out}
			}
			return nil
		})
	}
	for _, tt := range []struct{ flags, want string }{
		{"job -c first", `\Aof the first\nloud\n\z`},
		{"job -c second --tail=1", `\Aagain\n\z`},
		{"job -c second --tail=0", `\A\z`},
		{"job -c second --limit-bytes=6", `\Aof the\z`},
		{"job -c second --timestamps --tail=1", `\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z again\n\z`},
		{"job -c second --since=1h", `\Aof the second\nagain\n\z`},
		{"job -c second --since-time=2000-01-01T00:00:00Z", `\Aof the second\n`},
		{"job -c second --since-time=2100-01-01T00:00:00Z", `\A\z`},
		{"job --all-containers --prefix", `\[pod/job/first\] of the first\n`}, // the containers in any order
		{"job --all-containers --prefix", `\[pod/job/second\] again\n`},
		{"-l app=streams --all-containers --tail=-1 --prefix", `(?s)\[pod/job/first\] loud\n`},
		{"job --container=first --insecure-skip-tls-verify-backend", `\Aof the first\n`},
	} {
		if out := w.kubectl(append([]string{"logs"}, strings.Fields(tt.flags)...)...); !regexp.MustCompile(tt.want).MatchString(out) {
			t.Errorf("kubectl logs %s: %q", tt.flags, out)
		}
	}
	matches(t, w.kubectlFails("logs", "job", "-c", "second", "--previous"), "previous terminated container")
	matches(t, w.kubectlFails("logs", "job", "-c", "third"), "container third is not valid")
}

// TestKubectlDebug adds a Wasm container to a pod that runs.
func TestKubectlDebug(t *testing.T) {
	w := newWorld(t)
	w.apply(streamPods)
	w.kubectl("wait", "pod/site", "--for=condition=Ready", "--timeout="+patience.String())
	w.kubectl("debug", "site", "--image="+w.image("task"), "--profile=restricted", "-c", "dbg", "--", "task", "print", "hello from beside", "exit", "3")
	w.comes(`^3 `, "get", "pod", "site", "-o", "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode} .")
	w.comes(`^hello from beside$`, "logs", "site", "-c", "dbg")
	if got := w.kubectl("get", "pod", "site", "-o", "jsonpath={.status.containerStatuses[0].restartCount} {.status.phase}"); got != "0 Running" {
		t.Errorf("the pod is %q", got)
	}
	matches(t, w.kubectlFails("exec", "site", "-c", "dbg", "--", "task"), "not running")
}

// TestProxyToPods reaches a pod and a service through the API.
func TestProxyToPods(t *testing.T) {
	w := newWorld(t)
	w.apply(streamPods + `
---
apiVersion: v1
kind: Service
metadata: {name: site}
spec: {selector: {app: streams}, ports: [{name: web, port: 80, targetPort: 8080}]}
`)
	w.kubectl("wait", "pod/site", "--for=condition=Ready", "--timeout="+patience.String())
	w.kubectl("label", "pod/job", "app=other", "--overwrite")
	for _, path := range []string{"/pods/site/proxy/", "/pods/site:8080/proxy/", "/pods/http:site:8080/proxy/", "/services/site/proxy/", "/services/site:web/proxy/"} {
		w.eventually(path, func() error {
			out, err := w.k.Run(t.Context(), "", "get", "--raw", "/api/v1/namespaces/"+w.ns+path)
			if err == nil && !strings.HasPrefix(out, "probe one") {
				err = &missing{what: "probe one", in: out}
			}
			return err
		})
	}
	matches(t, w.kubectlFails("get", "--raw", "/api/v1/namespaces/"+w.ns+"/services/none/proxy/"), "not found")
}
