package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/test/cluster"
)

// crane runs the real crane against the cluster's registry.
func (w *world) crane(args ...string) string {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), suite.crane, append([]string{"--insecure"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("crane %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestRegistry reads a deployed module by crane, pushes it under another name and runs it from there.
func TestRegistry(t *testing.T) {
	w := newWorld(t)
	hello := w.deploy("hello", w.modulePath("probe"), 201)
	host := strings.TrimPrefix(w.cluster.State.API, "http://")
	source := host + "/" + w.ns + "/hello@" + hello.Digest

	manifest := w.crane("manifest", source)
	contains(t, manifest, `application/vnd.wasm.config.v0+json`, `application/wasm`)
	contains(t, w.crane("config", source), `"architecture":"wasm"`, `"layerDigests"`)
	contains(t, w.crane("catalog", host), w.ns+"/hello")

	layout := filepath.Join(t.TempDir(), "layout")
	w.crane("pull", "--format=oci", source, layout)
	copied := w.ns + "/copied"
	w.crane("push", layout, host+"/"+copied+":v1")
	contains(t, w.crane("ls", host+"/"+copied), "v1")
	equal(t, "digest of the copy", strings.TrimSpace(w.crane("digest", host+"/"+copied+":v1")), hello.Digest)

	w.apply(strings.ReplaceAll(server, "$PROBE", cluster.Registry+"/"+copied+":v1"))
	w.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=150s")
	w.becomes(podURL(w, "server"), 200, "probe")
	matches(t, w.kubectl("get", "pod", "server", "-o", "jsonpath={.status.containerStatuses[0].imageID}"), hello.Digest)

	// What is no Wasm artifact is refused by the pod's own status, not by silence.
	w.kubectl("run", "absent", "--image="+cluster.Registry+"/"+w.ns+"/absent:v1", "--restart=Never")
	w.comes(`^absent +0/1 +(ErrImagePull|ImagePullBackOff) `, "get", "pod", "absent")
}
