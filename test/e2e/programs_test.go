package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// example answers the module of one of examples/.
func (w *world) example(name string) string {
	w.Helper()
	path, err := suite.tree.Example(context.Background(), name)
	if err != nil {
		w.Fatal(err)
	}
	return path
}

// TestHello is the first thing that a new user does.
func TestHello(t *testing.T) {
	w := newWorld(t)
	hello := w.deploy("hello", w.example("hello"), 201)
	a := w.curl(hello.URL)
	equal(t, "status", a.Status, 200)
	contains(t, strings.ToLower(a.Body), "hello")
}

// TestGojq runs a program that nobody here wrote as a Job, over a JSON file that nobody here wrote: the discovery
// document of Kubernetes, which comes with its module.
func TestGojq(t *testing.T) {
	w := newWorld(t)
	dir, err := suite.tree.ModuleDir(t.Context(), "k8s.io/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "api", "discovery", "aggregated_v2.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Items []struct {
			Metadata struct{ Name string }
			Versions []struct{ Resources []struct{ Resource string } }
		}
	}
	if err := json.Unmarshal(data, &document); err != nil || len(data) < 50_000 {
		t.Fatalf("%s: %v, %d bytes", file, err, len(data))
	}
	groups, resources := []string{}, 0
	for _, item := range document.Items {
		groups = append(groups, item.Metadata.Name)
		for _, version := range item.Versions {
			resources += len(version.Resources)
		}
	}

	module, err := os.ReadFile(w.example("gojq"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := w.cluster.Push(t.Context(), "e2e/gojq", module)
	if err != nil {
		t.Fatal(err)
	}
	w.kubectl("create", "configmap", "document", "--from-file=discovery.json="+file)
	w.apply(strings.ReplaceAll(gojqJob, "$IMAGE", image))
	w.kubectl("wait", "job/gojq", "--for=condition=Complete", "--timeout=60s")
	lines := strings.Split(strings.TrimSpace(w.kubectl("logs", "job/gojq")), "\n")
	if len(lines) != 2 {
		t.Fatalf("gojq printed %d lines: %q", len(lines), lines)
	}
	equal(t, "number of resources", lines[0], strconv.Itoa(resources))
	got := parse[[]string](w, lines[1])
	equal(t, "groups", strings.Join(got, " "), strings.Join(groups, " "))

	out, _, code := w.cli("run", w.example("gojq"), "--", "-n", `error("no")`)
	if code != 5 { // jq's exit code of an error in the program
		t.Errorf("gojq's failure: exit code %d\n%s", code, out)
	}
}

const gojqJob = `
apiVersion: batch/v1
kind: Job
metadata: {name: gojq}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: gojq
        image: $IMAGE
        args: ["-c", "([.items[].versions[].resources[]?] | length), [.items[] | .metadata.name // \"\"]", "/data/discovery.json"]
        volumeMounts: [{name: data, mountPath: /data, readOnly: true}]
      volumes:
      - {name: data, configMap: {name: document}}
`
