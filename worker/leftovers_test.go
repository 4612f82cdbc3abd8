package worker

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFilesOfPodsThatAreNoMore(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	n.ready("a")
	n.stop()
	root := n.cfg.RootDir
	for _, name := range []string{
		"pods/lost.json", "pods/torn.json", "pods/torn.json.partial", "pods/lost/volumes/v/file", "pods/half.gone/file",
		"logs/pods/default_lost.pod_lost/main/0.log", "logs/pods/default_half_half.gone/main/0.log", "logs/pods/not ours/0.log",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.start()
	n.eventually("what is left of other pods to go", func() bool {
		return len(n.glob(root+"/pods/*")) == 1 && len(n.glob(root+"/logs/pods/*")) == 2
	})
	for _, kept := range []string{"pods/uid-a.json", "logs/pods/default_a_uid-a", "logs/pods/not ours"} {
		if _, err := os.Stat(filepath.Join(root, kept)); err != nil {
			t.Errorf("%s is gone: %v", kept, err)
		}
	}
	if restarts(n.ready("a")) != 0 || n.runtime.RunningContainers() != 1 {
		t.Error("the pod that is there did not run on")
	}
}
