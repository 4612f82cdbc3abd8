package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/test/cluster"
)

// TestControlPlaneAndWorkerApart runs the two as processes of their own and kills each: apps answer without the control
// plane, pods outlive the worker, and a node whose worker is gone is told to be so.
func TestControlPlaneAndWorkerApart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(suite.dir, folderName(t))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	split, err := cluster.StartSplit(t.Context(), cluster.Options{Dir: dir, Binaries: suite.tree.Bin()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, part := range []string{"controlplane", "worker"} {
				t.Logf("--- the end of %s\n%s", split.LogPath(part), cluster.Tail(split.LogPath(part), 60))
			}
		}
		if err := split.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w := worldIn(t, split.Cluster())
	w.kubectl("wait", "node", "--all", "--for=create", "--timeout=150s")
	w.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=150s")
	w.apply(web)
	w.rollout("web")
	w.becomes(w.appURL("web"), 200, "probe one")
	pods := identities(w)

	t.Run("without the control plane", func(t *testing.T) {
		w := w.in(t)
		killProcess(w, split.ControlPlane)
		for range 10 {
			w.get(w.appURL("web"), 200)
		}
		if err := split.UpControlPlane(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.kubectl("scale", "deployment/web", "--replicas=3")
		w.rollout("web")
		w.kubectl("scale", "deployment/web", "--replicas=2")
		w.rollout("web")
	})
	t.Run("without the worker", func(t *testing.T) {
		w := w.in(t)
		addresses := podURLs(w)
		killProcess(w, split.Worker)
		for _, pod := range addresses {
			w.get(pod, 200) // the runner lives on
		}
		w.kubectl("wait", "node", "--all", "--for=condition=Ready=Unknown", "--timeout=150s")
		matches(t, w.kubectl("get", "nodes"), ` NotReady `)
		w.kubectl("wait", "pods", "--all", "--for=condition=Ready=False", "--timeout=150s")
		if err := split.UpWorker(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=150s")
		w.rollout("web")
		w.becomes(w.appURL("web"), 200, "probe one")
	})
	after := strings.Join(identities(w), "\n")
	kept := 0
	for _, pod := range pods {
		if strings.Contains(after, pod) {
			kept++
		}
	}
	if kept == 0 {
		t.Errorf("pods were\n%s\nand are\n%s", strings.Join(pods, "\n"), after)
	}
}

func killProcess(w *world, p *cluster.Process) {
	w.Helper()
	if err := p.Signal(os.Kill); err != nil {
		w.Fatal(err)
	}
	_ = p.Wait(w.Context()) // it ends by our signal, which Wait calls an error
}
