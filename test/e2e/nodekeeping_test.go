package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// staticServer is a pod of the HTTP guest as a file on the node.
const staticServer = `
apiVersion: v1
kind: Pod
metadata:
  name: local
  labels: {app: local}
spec:
  containers:
  - name: server
    image: $PROBE
    ports: [{containerPort: 8080}]
    env: [{name: RELEASE, value: one}]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
`

// TestStaticPod runs a pod from a directory of the node, over TLS: the API shows it, and cannot do away with it.
func TestStaticPod(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := worldIn(t, ownCluster(t, "--tls", "--pod-manifest-path="+dir, "--container-log-max-size=16Ki", "--container-log-max-files=2"))
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "local.yaml"), []byte(w.fill(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.kubectl("wait", "node", "--all", "--for=create", "--timeout=150s")
	name := "pod/local-" + strings.TrimSpace(w.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"))
	ready := func() {
		t.Helper()
		w.kubectl("wait", name, "-n", "default", "--for=create", "--timeout=150s")
		w.kubectl("wait", name, "-n", "default", "--for=condition=Ready", "--timeout=150s")
	}
	field := func(path string) string {
		return strings.TrimSpace(w.kubectl("get", name, "-n", "default", "-o", "jsonpath={"+path+"}"))
	}
	put(staticServer)
	ready()
	base := "http://" + field(".status.podIP") + ":8080"
	w.becomes(base+"/", 200, "probe one")
	if field(".metadata.ownerReferences[0].kind") != "Node" || field(`.metadata.annotations.kubernetes\.io/config\.source`) != "file" {
		t.Errorf("the mirror: %s", w.kubectl("get", name, "-n", "default", "-o", "yaml"))
	}
	uid, container := field(".metadata.uid"), field(".status.containerStatuses[0].containerID")
	w.kubectl("delete", name, "-n", "default", "--wait=false")
	w.eventually("the mirror to be made anew", func() error {
		out, err := w.k.Run(t.Context(), "", "get", name, "-n", "default", "-o", "jsonpath={.metadata.uid}")
		if err != nil || strings.TrimSpace(out) == uid {
			return &missing{what: "another mirror", in: out}
		}
		return nil
	})
	ready()
	if field(".status.containerStatuses[0].containerID") != container {
		t.Error("the pod was restarted because its mirror was deleted")
	}

	rotates(w, base, name)

	put(strings.Replace(staticServer, "value: one", "value: two", 1))
	w.eventually("the changed pod to serve", func() error {
		out, err := w.k.Run(t.Context(), "", "get", name, "-n", "default", "-o", "jsonpath={.spec.containers[0].env[0].value} {.status.podIP}")
		release, ip, _ := strings.Cut(strings.TrimSpace(out), " ")
		if err != nil || release != "two" || ip == "" {
			return &missing{what: "the changed mirror", in: out}
		}
		return w.answers("http://"+ip+":8080/", 200, "probe two")
	})
	if err := os.Remove(filepath.Join(dir, "local.yaml")); err != nil {
		t.Fatal(err)
	}
	w.kubectl("wait", name, "-n", "default", "--for=delete", "--timeout=150s")
}

// answers asks once for a page that has the text.
func (w *world) answers(page string, status int, text string) error {
	got, err := fetch(w.Context(), page)
	if err == nil && (got.Status != status || !strings.Contains(got.Body, text)) {
		err = &missing{what: text, in: fmt.Sprint(got.Status, " ", got.Body)}
	}
	return err
}

// rotates has the pod write more than its log may hold, and finds the log moved aside and going on.
func rotates(w *world, base, name string) {
	w.Helper()
	logs := filepath.Join(w.cluster.DataDir(), "worker", "logs", "pods", "default_"+strings.TrimPrefix(name, "pod/")+"_*", "server", "*")
	long := strings.Repeat("x", 1000)
	written := 0
	w.eventually("the log to be moved aside", func() error {
		for range 20 {
			written++
			if err := w.answers(base+"/log?line="+url.QueryEscape(fmt.Sprint(written, long)), 204, ""); err != nil {
				return err
			}
		}
		files, err := filepath.Glob(logs)
		if err != nil || len(files) < 2 {
			return &missing{what: "two log files", in: strings.Join(files, "\n")}
		}
		return nil
	})
	w.eventually("the log to go on", func() error { // it may be moved aside again before it is read
		if err := w.answers(base+"/log?line=afterwards", 204, ""); err != nil {
			return err
		}
		out, err := w.k.Run(w.Context(), "", "logs", name, "-n", "default", "--tail=5")
		if err != nil || !strings.Contains(out, "out afterwards\n") {
			return &missing{what: "the newest line", in: out}
		}
		return nil
	})
	files, err := filepath.Glob(logs)
	if err != nil || len(files) > 3 { // one that is being compressed counts twice
		w.Errorf("log files: %v, %v", files, err)
	}
}
