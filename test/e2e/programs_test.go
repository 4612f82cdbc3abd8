package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/test/cluster"
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
	w.kubectl("wait", "job/gojq", "--for=condition=Complete", "--timeout=150s")
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

// TestExampleManifests applies each example's own manifest, as its readme says, and reads what it prints.
func TestExampleManifests(t *testing.T) {
	w := newWorld(t)
	for _, e := range []struct{ name, logs string }{
		{"gojq", "hello 64Mi\nhttpbin 128Mi\n"},
		{"wordcount", "       2      14      73 /data/poem.txt\n       4 the\n       2 is\n       2 storm\n"},
		{"csvstat", "temperature: count 3, min 4.5, mean 5.750, max 7.25\nwind: count 3, min 3, mean 15.000, max 30\n"},
	} {
		w.applyExample(e.name)
		w.kubectl("wait", "job/"+e.name, "--for=condition=Complete", "--timeout=150s")
		equal(t, e.name+" prints", w.kubectl("logs", "job/"+e.name), e.logs)
	}
	w.applyExample("hello")
	contains(t, w.becomes(w.appURL("hello"), 200, "good day").Body, "Hello from Petrel")
	w.applyExample("httpbin")
	w.becomes(w.appURL("httpbin")+"uuid", 200, "uuid")
}

// applyExample pushes an example's module and applies its manifest with the image's name set to it.
func (w *world) applyExample(name string) {
	w.Helper()
	module, err := os.ReadFile(w.example(name))
	if err != nil {
		w.Fatal(err)
	}
	image, err := w.cluster.Push(w.Context(), w.ns+"/"+name, module)
	if err != nil {
		w.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(suite.tree.Root, "examples", name, name+".yaml"))
	if err != nil {
		w.Fatal(err)
	}
	named := cluster.Registry + "/default/" + name + ":v1"
	if !strings.Contains(string(manifest), named) {
		w.Fatalf("the manifest of %s does not name %s", name, named)
	}
	w.kubectlIn(strings.ReplaceAll(string(manifest), named, image), "apply", "-f", "-")
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
