package e2e

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/petrelrun/petrel/test/cluster"
)

// TestUpOverTLS runs `petrel up --tls`: the same cluster of one node, with credentials, before and after a restart.
func TestUpOverTLS(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(suite.dir, folderName(t))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Start(t.Context(), cluster.Options{Dir: dir, Binaries: suite.tree.Bin(), Args: []string{"--tls"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("--- the end of %s\n%s", c.LogPath(), cluster.Tail(c.LogPath(), 60))
		}
		if err := c.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w := worldIn(t, c)
	works := func() {
		t.Helper()
		w.kubectl("wait", "node", "--all", "--for=create", "--timeout=150s")
		w.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=150s")
		w.rollout("site")
		w.becomes(w.appURL("site"), 200, "probe")
		w.kubectl("logs", "deployment/site")
	}
	module, err := suite.tree.Guest(t.Context(), "probe", true)
	if err != nil {
		t.Fatal(err)
	}
	deploy := exec.CommandContext(t.Context(), c.Petrel(), "deploy", module, "--name", "site", "-n", w.ns, "--timeout", "170s", "--kubeconfig", c.Kubeconfig)
	if out, err := deploy.CombinedOutput(); err != nil {
		t.Fatalf("deploy: %v\n%s", err, out)
	}
	works()
	matches(t, w.kubectl("auth", "whoami"), `^Username +petrel:admin$`)
	if got := w.kubectl("get", "secrets", "-n", "kube-system", "--field-selector", "type=bootstrap.kubernetes.io/token", "-o", "name"); got != "" {
		t.Errorf("the worker's token is still there: %s", got)
	}
	res, err := http.Get("http" + c.State.API[len("https"):] + "/readyz")
	if err == nil {
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("in the clear: %s", res.Status)
		}
	}
	if err := c.Interrupt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	works()
}
