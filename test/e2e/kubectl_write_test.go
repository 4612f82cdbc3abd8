package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestCreate makes one of each kind by kubectl's generators.
func TestCreate(t *testing.T) {
	w := newWorld(t)
	w.kubectl("create", "deployment", "made", "--image="+w.image("probe"), "--replicas=1", "--port=8080")
	w.rollout("made")
	w.kubectl("create", "configmap", "settings", "--from-literal=colour=red", "--from-file=module.go=main_test.go")
	contains(t, w.kubectl("describe", "configmap", "settings"), "colour:", "func TestMain")
	w.kubectl("create", "secret", "generic", "password", "--from-literal=word=sesame")
	secret := parse[corev1.Secret](w, w.kubectl("get", "secret", "password", "-o", "json"))
	equal(t, "secret", string(secret.Data["word"]), "sesame")
	w.kubectl("create", "service", "clusterip", "made", "--tcp=80:8080")
	w.kubectl("create", "job", "made", "--image="+w.image("task"), "--", "task", "print", "done")
	w.kubectl("wait", "--for=condition=Complete", "job/made", "--timeout=150s")
	contains(t, w.kubectl("logs", "job/made"), "done")

	extra := w.ns + "-extra"
	w.kubectl("create", "namespace", extra)
	w.kubectl("delete", "namespace", extra, "--timeout=150s")
	contains(t, w.kubectlFails("get", "namespace", extra), "not found")

	contains(t, w.kubectlFails("create", "configmap", "settings"), `configmaps "settings" already exists`)
	contains(t, w.kubectlFails("create", "configmap", "Not_A_Name"), "RFC 1123")
}

// TestValidation sends what must be refused and reads why.
func TestValidation(t *testing.T) {
	w := newWorld(t)
	refused := func(manifest string, args ...string) string {
		cmd := w.k.Command(t.Context(), append([]string{"create", "-f", "-"}, args...)...)
		cmd.Stdin = strings.NewReader(manifest)
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("accepted:\n%s", manifest)
		}
		return string(out)
	}
	contains(t, refused(strings.ReplaceAll(idle, "replicas: 0", "replicaz: 0")), `unknown field "spec.replicaz"`)
	contains(t, refused(strings.ReplaceAll(idle, "labels: {app: idle}}\n    spec", "labels: {app: other}}\n    spec")), "selector", "does not match template")
	contains(t, refused(strings.ReplaceAll(idle, "replicas: 0", "replicas: -1")), "spec.replicas", "greater than or equal to 0")
	contains(t, refused(strings.ReplaceAll(server, "containerPort: 8080", "containerPort: 80800")), "between 1 and 65535")
	contains(t, refused(idle, "--namespace=no-such-namespace"), `namespaces "no-such-namespace" not found`)
}

// TestEdit edits as a person would, by an editor that kubectl starts.
func TestEdit(t *testing.T) {
	w := newWorld(t)
	w.apply(settings)
	cmd := w.k.Command(t.Context(), "edit", "configmap", "settings")
	cmd.Env = append(cmd.Env, "KUBE_EDITOR=sed -i s/small/medium/")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "configmap/settings edited") {
		t.Fatalf("kubectl edit: %v\n%s", err, out)
	}
	equal(t, "size", w.kubectl("get", "configmap", "settings", "-o", "jsonpath={.data.size}"), "medium")
}

// TestPatch patches in each of the three ways, and a subresource.
func TestPatch(t *testing.T) {
	w := newWorld(t)
	w.apply(idle)
	field := func(path string) string { return w.kubectl("get", "deployment", "idle", "-o", "jsonpath={"+path+"}") }

	// Strategic: the list of containers is merged by name.
	w.kubectl("patch", "deployment", "idle", "--type=strategic", "-p",
		`{"spec":{"template":{"spec":{"containers":[{"name":"extra","image":"registry.petrel.internal/e2e/extra:v1"}]}}}}`)
	equal(t, "containers after the strategic patch", field(".spec.template.spec.containers[*].name"), "extra main")
	// Merge: the list is replaced as a whole.
	w.kubectl("patch", "deployment", "idle", "--type=merge", "-p",
		`{"spec":{"template":{"spec":{"containers":[{"name":"only","image":"registry.petrel.internal/e2e/only:v1"}]}}}}`)
	equal(t, "containers after the merge patch", field(".spec.template.spec.containers[*].name"), "only")
	// JSON: by path, and only when the test holds.
	w.kubectl("patch", "deployment", "idle", "--type=json", "-p",
		`[{"op":"test","path":"/spec/replicas","value":0},{"op":"replace","path":"/spec/template/spec/containers/0/name","value":"renamed"}]`)
	equal(t, "container after the JSON patch", field(".spec.template.spec.containers[*].name"), "renamed")
	contains(t, w.kubectlFails("patch", "deployment", "idle", "--type=json", "-p", `[{"op":"remove","path":"/spec/nothing"}]`), "nothing")

	w.kubectl("patch", "deployment", "idle", "--subresource=scale", "--type=merge", "-p", `{"spec":{"replicas":0}}`)
	generation := field(".metadata.generation")
	w.kubectl("patch", "deployment", "idle", "-p", `{"spec":{"replicas":0}}`)
	equal(t, "generation after a patch that changes nothing", field(".metadata.generation"), generation)
}

// TestLabelAndAnnotate adds, overwrites and removes.
func TestLabelAndAnnotate(t *testing.T) {
	w := newWorld(t)
	w.apply(settings)
	w.kubectl("label", "configmap", "settings", "team=blue", "--overwrite")
	contains(t, w.kubectlFails("label", "configmap", "settings", "team=green"), "already has a value")
	w.kubectl("annotate", "configmap", "settings", "note=hello")
	equal(t, "note", w.kubectl("get", "configmap", "settings", "-o", "jsonpath={.metadata.annotations.note}"), "hello")
	w.kubectl("annotate", "configmap", "settings", "note-")
	w.kubectl("label", "configmap", "settings", "team-")
	equal(t, "labels", w.kubectl("get", "configmap", "settings", "-o", "jsonpath={.metadata.labels}"), "")
}
