package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestKillRunnerUnderLoad kills one namespace's runner while it and another's are asked. The other's never fails, and its
// runner stays; the killed one's pods come back by themselves.
func TestKillRunnerUnderLoad(t *testing.T) {
	w := newWorld(t)
	other := w.sibling("other")
	url := w.deploy("hello", w.modulePath("probe"), 201).URL
	otherURL := other.deploy("hello", w.modulePath("probe"), 201).URL
	mine, others := w.runner(), other.runner()
	if mine == others {
		t.Fatalf("two namespaces share the runner %d", mine)
	}

	neighbour := startNeighbour(other, otherURL)
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() { // under load: requests are under way when the runner dies
			for range 200 {
				_, _ = fetch(w.Context(), url) // those that the kill meets fail
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	w.kill(mine)
	w.becomes(url, 200, "probe")
	load.Wait()
	neighbour.verify(w)

	if now := other.runner(); now != others {
		t.Errorf("the other namespace's runner was %d and is %d", others, now)
	}
	if now := w.runner(); now == mine {
		t.Error("the killed runner is still there")
	}
	equal(t, "restarts of the other namespace's pod", other.pods()[0].Status.ContainerStatuses[0].RestartCount, 0)
	w.eventually("the killed pod's restart to be told", func() error {
		if n := w.pods()[0].Status.ContainerStatuses[0].RestartCount; n < 1 {
			return fmt.Errorf("%d restarts", n)
		}
		return nil
	})
}

// sibling is a world with a namespace of its own in the same test.
func (w *world) sibling(suffix string) *world {
	w.Helper()
	s := *w
	s.ns = w.ns + "-" + suffix
	s.k = w.cluster.Kubectl(suite.kubectl, s.ns)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.ns}}
	if _, err := w.client.CoreV1().Namespaces().Create(w.Context(), namespace, metav1.CreateOptions{}); err != nil {
		w.Fatalf("make a second namespace: %v", err)
	}
	w.Cleanup(s.leave)
	return &s
}

// runner is the process of the namespace's runner.
func (w *world) runner() int {
	w.Helper()
	runners, err := w.cluster.Runners()
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range runners {
		if i := slices.Index(r.Args, "--namespace"); i > 0 && i+1 < len(r.Args) && r.Args[i+1] == w.ns {
			return r.PID
		}
	}
	w.Fatalf("no runner of %s in %v", w.ns, runners)
	return 0
}
