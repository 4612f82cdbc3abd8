package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/test/cluster"
)

const streamBox = `
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: $BOX
    stdin: true
    command: [sh, -c, "mkdir -p /www /tmp; echo in the box > /www/f; httpd -p 8080 -h /www; exec cat"]
    ports: [{name: web, containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: box}
spec: {selector: {app: box}, ports: [{name: web, port: 80, targetPort: web}]}
`

// TestStreamsIntoContainers goes into containers, and into a Wasm pod beside them, in each way that kubectl has: over TLS
// from kubectl to the API and from there to the node.
func TestStreamsIntoContainers(t *testing.T) {
	t.Parallel()
	w, _ := containersWorld(t, 1, cluster.Options{Containers: 1})
	w.apply(streamBox)
	w.apply(streamPods)
	w.apply(streamBoth)
	w.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout="+patience.String())
	for way, env := range streamWays {
		t.Run(way, func(t *testing.T) {
			w := w.in(t)
			w.execsInBox(env)
			w.copiesToAndFro(env)
			w.debugsBox("dbg-"+strings.ToLower(way), env)
			w.forwardsToBox(env)
			w.streamsIntoBoth(way, env)
			stdout, stderr, code := w.talk(env, "from here", "exec", "-i", "site", "--", "migrate", "one")
			if stdout != "migrated one with \"from here\" in one\n" || code != 1 {
				t.Errorf("in the Wasm pod: %q, %q, exit code %d", stdout, stderr, code)
			}
		})
	}
	t.Run("attach", func(t *testing.T) { w.in(t).attachesToBox() })
	t.Run("proxy", func(t *testing.T) { w.in(t).proxiesToPods() })
}

func (w *world) execsInBox(env []string) {
	w.Helper()
	stdout, stderr, code := w.talk(env, "a line", "exec", "-i", "box", "-c", "main", "--", "sh", "-c", "cat; echo oops >&2; exit 7")
	if stdout != "a line" || !strings.HasPrefix(stderr, "oops\n") || code != 7 {
		w.Errorf("exec: %q, %q, exit code %d", stdout, stderr, code)
	}
	_, stderr, code = w.talk(env, "", "exec", "box", "-c", "main", "--", "no-such-program")
	if code == 0 || !strings.Contains(stderr, "no-such-program") {
		w.Errorf("a program that is not there: %q, exit code %d", stderr, code)
	}
}

// copiesToAndFro copies a file of some size and a folder.
func (w *world) copiesToAndFro(env []string) {
	w.Helper()
	dir := w.TempDir()
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	if err := os.MkdirAll(filepath.Join(dir, "to", "sub"), 0o755); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "to", "sub", "file"), content, 0o600); err != nil {
		w.Fatal(err)
	}
	target := fmt.Sprintf("/tmp/copy-%d", rand.Uint32())
	for _, args := range [][]string{{"cp", filepath.Join(dir, "to"), "box:" + target}, {"cp", "box:" + target, filepath.Join(dir, "fro")}} {
		if _, stderr, code := w.talk(env, "", args...); code != 0 {
			w.Fatalf("kubectl %s: %s", strings.Join(args, " "), stderr)
		}
	}
	back, err := os.ReadFile(filepath.Join(dir, "fro", "sub", "file"))
	if err != nil || !bytes.Equal(back, content) {
		w.Errorf("%d bytes of %d came back, %v", len(back), len(content), err)
	}
}

// debugsBox adds a container to the running pod that sees the processes of the first.
func (w *world) debugsBox(name string, env []string) {
	w.Helper()
	// Its input stays open until it has said what it sees: a runtime cuts the output off with the input.
	_, stderr, code := w.talk(env, "", "debug", "box", "--image="+boxImage, "--image-pull-policy=Never", "--target=main", "-c", name, "--", "sh", "-c", "ps; exec sleep 100000")
	if code != 0 {
		w.Fatalf("kubectl debug: %s", stderr)
	}
	w.eventually("the node to know of the debugger", func() error {
		_, err := w.k.Run(w.Context(), "", "logs", "box", "-c", name)
		return err
	})
	w.comes(`httpd -p 8080`, "logs", "box", "-c", name)
	if got := w.kubectl("exec", "box", "-c", name, "--", "cat", "/proc/1/root/www/f"); got != "in the box\n" {
		w.Errorf("the debugger reads %q", got)
	}
	if got := w.kubectl("get", "pod", "box", "-o", "jsonpath={.status.containerStatuses[0].restartCount} {.status.phase}"); got != "0 Running" {
		w.Errorf("the pod is %q", got)
	}
}

func (w *world) forwardsToBox(env []string) {
	w.Helper()
	for what, want := range map[string]string{"pod/box": "in the box\n", "service/box": "in the box\n", "pod/site": "probe one"} {
		port := ":8080"
		if what == "service/box" {
			port = ":80"
		}
		cmd := w.k.Command(w.Context(), "port-forward", what, port)
		cmd.Env = append(cmd.Env, env...)
		line := w.follow(cmd).sees(`^Forwarding from 127\.0\.0\.1:\d+`)
		path := map[bool]string{true: "/", false: "/f"}[what == "pod/site"]
		resp, err := http.Get("http://" + regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line) + path)
		if err != nil {
			w.Errorf("%s: %v", what, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.HasPrefix(string(body), want) {
			w.Errorf("%s: %s %q, %v", what, resp.Status, body, err)
		}
	}
}

// streamBoth is a pod of both kinds: each has a port, a log, commands, and a reader of what it is told.
const streamBoth = `
apiVersion: v1
kind: Pod
metadata: {name: both}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: module, image: $PROBE, ports: [{containerPort: 8080}], env: [{name: RELEASE, value: two}]}
  - {name: command, image: $TASK, stdin: true, args: [print, of the command, cat, "-"]}
  - name: box
    image: $BOX
    stdin: true
    command: [sh, -c, "echo of the box; mkdir /www; echo in the box > /www/f; httpd -p 9090 -h /www; exec cat"]
`

// streamsIntoBoth goes into the containers of either kind of one pod.
func (w *world) streamsIntoBoth(way string, env []string) {
	w.Helper()
	stdout, stderr, code := w.talk(env, "a line", "exec", "-i", "both", "-c", "box", "--", "sh", "-c", "cat; exit 7")
	if stdout != "a line" || code != 7 {
		w.Errorf("exec into the container: %q, %q, exit code %d", stdout, stderr, code)
	}
	stdout, stderr, code = w.talk(env, "from here", "exec", "-i", "both", "-c", "module", "--", "migrate", "one")
	if stdout != "migrated one with \"from here\" in two\n" || code != 1 {
		w.Errorf("exec into the module: %q, %q, exit code %d", stdout, stderr, code)
	}
	for _, c := range []string{"box", "command"} {
		cmd := w.k.Command(w.Context(), "attach", "-i", "both", "-c", c)
		cmd.Env = append(cmd.Env, env...)
		in, err := cmd.StdinPipe()
		if err != nil {
			w.Fatal(err)
		}
		f := w.follow(cmd)
		fmt.Fprintln(in, "hello by "+way)
		f.sees("^hello by " + way + "$")
		w.comes("^hello by "+way+"$", "logs", "both", "-c", c)
		w.comes("^of the "+c+"$", "logs", "both", "-c", c)
	}
	w.comes(`^\[pod/both/box\] of the box$`, "logs", "both", "--all-containers", "--prefix")
	w.comes(`^\[pod/both/command\] of the command$`, "logs", "both", "--all-containers", "--prefix")

	cmd := w.k.Command(w.Context(), "port-forward", "pod/both", ":8080", ":9090")
	cmd.Env = append(cmd.Env, env...)
	f := w.follow(cmd)
	for _, to := range []struct{ port, path, want string }{{"8080", "/", "probe"}, {"9090", "/f", "in the box\n"}} { // in kubectl's order
		line := f.sees(`^Forwarding from 127\.0\.0\.1:\d+ -> ` + to.port)
		resp, err := http.Get("http://" + regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line) + to.path)
		if err != nil {
			w.Errorf("port %s: %v", to.port, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.HasPrefix(string(body), to.want) {
			w.Errorf("port %s: %s %q, %v", to.port, resp.Status, body, err)
		}
	}
}

// attachesToBox speaks to the container's own process, which gives back what it is told.
func (w *world) attachesToBox() {
	for way, env := range streamWays {
		cmd := w.k.Command(w.Context(), "attach", "-i", "box", "-c", "main")
		cmd.Env = append(cmd.Env, env...)
		in, err := cmd.StdinPipe()
		if err != nil {
			w.Fatal(err)
		}
		f := w.follow(cmd)
		fmt.Fprintln(in, "hello by "+way)
		f.sees("^hello by " + way + "$")
	}
	w.comes(`^hello by SPDY$`, "logs", "box", "-c", "main")
}

// proxiesToPods asks pods of both kinds through the API.
func (w *world) proxiesToPods() {
	at := "/api/v1/namespaces/" + w.ns
	for path, want := range map[string]string{
		"/pods/box/proxy/f": "in the box\n", "/pods/box:8080/proxy/f": "in the box\n", "/services/box/proxy/f": "in the box\n",
		"/services/box:web/proxy/f": "in the box\n", "/pods/site:8080/proxy/": "probe one",
	} {
		w.eventually(path, func() error {
			out, err := w.k.Run(w.Context(), "", "get", "--raw", at+path)
			if err == nil && !strings.HasPrefix(out, want) {
				err = &missing{what: want, in: out}
			}
			return err
		})
	}
}
