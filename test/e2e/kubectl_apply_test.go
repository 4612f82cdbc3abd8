package e2e

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const settings = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {team: red}}
data: {colour: red, size: small}
`

// TestApplyClientSide applies, applies again, changes, and takes a field away.
func TestApplyClientSide(t *testing.T) {
	w := newWorld(t)
	contains(t, w.apply(settings), "configmap/settings created")
	contains(t, w.apply(settings), "configmap/settings unchanged")
	before := w.kubectl("get", "configmap", "settings", "-o", "jsonpath={.metadata.resourceVersion}")
	w.kubectl("label", "configmap", "settings", "other=tool") // not of the manifest, so it must survive
	contains(t, w.apply(strings.ReplaceAll(settings, ", size: small", "")), "configmap/settings configured")

	got := parse[corev1.ConfigMap](w, w.kubectl("get", "configmap", "settings", "-o", "json"))
	if _, there := got.Data["size"]; there || got.Data["colour"] != "red" || got.Labels["other"] != "tool" {
		t.Errorf("after apply: data %v, labels %v", got.Data, got.Labels)
	}
	if got.ResourceVersion == before {
		t.Error("the change kept the resourceVersion")
	}

	w.apply(idle)
	contains(t, w.apply(idle), "unchanged")
	w.apply(strings.ReplaceAll(idle, "absent:v1", "absent:v2"))
	contains(t, w.kubectl("get", "deployment", "idle", "-o", "wide"), "absent:v2")
	contains(t, w.kubectl("apply", "view-last-applied", "deployment/idle"), "absent:v2")
}

// TestApplyServerSide lets two managers own fields of one object.
func TestApplyServerSide(t *testing.T) {
	w := newWorld(t)
	contains(t, w.apply(settings, "--server-side", "--field-manager=one"), "serverside-applied")
	other := strings.ReplaceAll(settings, "colour: red", "colour: blue")

	cmd := w.k.Command(t.Context(), "apply", "--server-side", "--field-manager=two", "-f", "-")
	cmd.Stdin = strings.NewReader(other)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("the second manager took a field without force:\n%s", out)
	}
	contains(t, string(out), "conflict", `"one"`, ".data.colour")

	w.apply(other, "--server-side", "--field-manager=two", "--force-conflicts")
	equal(t, "colour", w.kubectl("get", "configmap", "settings", "-o", "jsonpath={.data.colour}"), "blue")
	managed := w.kubectl("get", "configmap", "settings", "-o", "json", "--show-managed-fields")
	contains(t, managed, `"manager": "one"`, `"manager": "two"`, `"operation": "Apply"`)

	// A field that its only owner no longer applies goes away; one that another owns too stays.
	w.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: blue}\n", "--server-side", "--field-manager=two")
	equal(t, "size, still of manager one", w.kubectl("get", "configmap", "settings", "-o", "jsonpath={.data.size}"), "small")
	w.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n", "--server-side", "--field-manager=one")
	equal(t, "data left", w.kubectl("get", "configmap", "settings", "-o", "jsonpath={.data}"), `{"colour":"blue"}`)

	contains(t, w.apply(idle, "--server-side"), "serverside-applied")
	contains(t, w.apply(strings.ReplaceAll(idle, "absent:v1", "absent:v2"), "--server-side"), "serverside-applied")
	contains(t, w.kubectl("get", "deployment", "idle", "-o", "wide"), "absent:v2")
}

// TestDryRunAndDiff must change nothing.
func TestDryRunAndDiff(t *testing.T) {
	w := newWorld(t)
	dry := w.kubectlIn(idle, "create", "-f", "-", "--dry-run=server", "-o", "yaml")
	matches(t, dry, `^  uid: `, `^  progressDeadlineSeconds: 600$`)
	contains(t, w.kubectlFails("get", "deployment", "idle"), "not found")

	w.apply(settings)
	contains(t, w.apply(settings, "--dry-run=server"), "unchanged (server dry run)")
	cmd := w.k.Command(t.Context(), "diff", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(settings, "small", "large"))
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("kubectl diff of a change ends with %v, want exit code 1", err)
	}
	matches(t, string(out), `^-  size: small$`, `^\+  size: large$`)
	w.kubectlIn(settings, "diff", "-f", "-") // no difference: exit code 0
	w.kubectl("delete", "configmap", "settings", "--dry-run=server")
	w.kubectl("patch", "configmap", "settings", "--dry-run=server", "-p", `{"data":{"size":"huge"}}`)
	equal(t, "size after all of that", w.kubectl("get", "configmap", "settings", "-o", "jsonpath={.data.size}"), "small")
}
